"""Named points on the way of a change to the disk and to the service, as a trace.

Each is a record of the logger `remotefs.crashpoints` at DEBUG, which nobody listens to unless asked: a step costs one
look into a dict then. After a step something is so that was not so before it, and a crash may come between any two: the
tests end the process at each of them (`tests/crash`).
"""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)


def reached(step: str, subject: object = "") -> None:
    """The step was reached, of what `subject` names: a path, an id, a number. Callable from any thread."""
    _log.debug("%s %s", step, subject)
