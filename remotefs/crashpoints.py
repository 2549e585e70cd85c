"""Named points on the way of a change to the disk and to the service.

Each point writes a record to the logger `remotefs.crashpoints` at DEBUG, which is off by default: a point then costs
one look into a dict. Something is true after a point that was not true before it, and a crash may come between any two
points. The tests kill the process at each of them (`tests/crash`).
"""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)


def reached(step: str, subject: object = "") -> None:
    """Record that `step` was reached for `subject`: a path, an id, a number. May be called from any thread."""
    _log.debug("%s %s", step, subject)
