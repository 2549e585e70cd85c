from tests.parts import clock, server

__all__ = ["clock", "server"]
