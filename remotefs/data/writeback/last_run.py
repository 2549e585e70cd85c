"""What is known at the start of a mount about the time since the state folder was last in use. Pure.

A folder that was not in use for minutes may be a copy: a backup that was restored, a disk that was set back. Then it
had a later life, in which what is pending here may have gone up. The folder itself cannot tell, so the listing is
asked, once for all that was pending (`readback`).

What the listing shows proves only a name, a size and a time. A file of the same name and size is taken for the pending
one if it was made within ten minutes of the record: much later it may be an edit that kept the length. In doubt the
pending version is sent, both stay, and `remotefs dedupe` shows them. A DELETE that was pending is sent as it is: its id
was given up before the record, ids are never used again, and 404 is an answer.
"""

from __future__ import annotations

from typing import NamedTuple

from remotefs.clocks import Machine
from remotefs.store.meta import Facts

# A record is saved once a minute. A mount that starts again so soon after it is no later life.
OLD_AFTER_NS = 300 * 1_000_000_000
# Clocks that differ by less are taken for equal: of the service's only whole seconds are known.
_NEAR_NS = 5 * 1_000_000_000
_DATE_ERROR_NS = 500_000_000


class LastRun(NamedTuple):
    """The end of the last run, as far as it was recorded."""

    # The machine was started again since, so that a power cut may have taken rows.
    was_restarted: bool = True
    # Time enough has passed for a later life of the folder.
    is_old: bool = False
    # The service's clock at the last record, in ns since the epoch.
    service_ns: int = 0
    # How far it was ahead of this machine's wall clock then, in ns, at the least; 0 where the two agreed.
    ahead_ns: int = 0

    @classmethod
    def of(cls, facts: Facts, machine: Machine, steady_ns: int) -> LastRun:
        """Return what the facts of a folder say at a moment of the steady clock, before a mount has changed them."""
        mark = facts.steady
        if mark is None:
            return cls()
        clock = facts.service_clock
        service_ns = mark.wall_ns if clock is None else clock.reference.at(mark.steady_ns)
        ahead_ns = service_ns - mark.wall_ns
        return cls(
            was_restarted=not machine.boot_id or mark.boot_id != machine.boot_id,
            is_old=steady_ns - mark.steady_ns > OLD_AFTER_NS,
            service_ns=service_ns,
            ahead_ns=ahead_ns - _DATE_ERROR_NS if abs(ahead_ns) > _NEAR_NS else 0,
        )
