"""The rules of a consistent state folder, and the findings where one is broken: pure, without I/O.

    rows of the database ┐
    staged files         ├─► Snapshot ─► inconsistencies() ─► findings, each with advice
    content              │
    listing              ┘

`mount/check/inspection.py` reads the snapshot and `mount/check/repair.py` repairs findings; tests use the same rules
after every simulated crash. A rule holds at every moment between two steps of a mount that works. So a finding is a
defect or damage, and never a state that passes by itself.
"""
