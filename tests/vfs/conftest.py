from tests.parts import clock, server, steps

__all__ = ["clock", "server", "steps"]
