from __future__ import annotations

from hypothesis import settings

# A machine that is busy with the other tests is no reason to fail: the suite's own limit catches a hang.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
