"""`remotefs check`: `inspection` reads the state of a mount and compares it, `repair` repairs findings.

Repair never costs bytes that may exist nowhere else: bytes that no row explains go to the trash or to `recovered`.
"""
