"""When an object may be deleted from the shared store (X6), and when nothing is: pure.

A deletion is final, so each doubt keeps. An object goes only after

    its file is unknown here ─► noted ─► `keep` later a listing begins that lacks it ─► the service is asked for its id
                                                                                       and says that it has it not
"""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.clocks import DAY_NS
from remotefs.data.share.complete_listings import LastTwo
from remotefs.store.meta import Facts
from remotefs.store.orphans import Ripe

# A younger object is not noted: its file may be so new that no listing here has shown it.
YOUNG_NS = 7 * DAY_NS


@dataclass(frozen=True)
class Standing:
    """What is known of the service at a moment: the facts of the state folder, and how its answers are."""

    facts: Facts
    # The account of the folder answers, and no other has answered in this run.
    is_answering: bool
    # The service's clock and that of this machine tell of one time.
    is_clock_sure: bool
    # The last two complete listings of this run.
    listings: LastTwo | None


def doubt(standing: Standing) -> str | None:
    """Return why this machine cannot tell now which files are gone; None if it can."""
    facts = standing.facts
    if facts.organization is None or facts.owner_lost:
        return "no reply of the service names the account"
    if not standing.is_answering:
        return "the service does not answer, or for another account"
    if facts.removals_held or facts.expiries_held:
        return "files are held back until `remotefs accept-removals`"
    if (reason := doubt_for_a_person(facts)) is not None:
        return reason
    if not standing.is_clock_sure:
        return "the clock of the service and that of this machine do not agree"
    if standing.listings is None:
        return "this run has not listed all files twice yet"
    return None


def doubt_for_a_person(facts: Facts) -> str | None:
    """Return the doubt that only a person can end, by `remotefs accept-removals`; None if there is none."""
    if facts.all_missing and facts.workspace is None:
        return "a listing lacked every known file: if that was right, run `remotefs accept-removals`"
    return None


def is_old(modified_ns: int, now_ns: int) -> bool:
    """Return whether an object, put at `modified_ns`, is old enough to be noted. One from the future is not."""
    return modified_ns <= now_ns - YOUNG_NS


def ripe(facts: Facts, listings: LastTwo, keep_ns: int, run: int) -> Ripe:
    """Return which of the objects that a run found may go.

    The last listing began when the note was `keep_ns` old, and the one before it after the note: two lack the file.
    Where no reply names the workspace, other workspaces of the organization share this part of the store; so only the
    objects of files that this machine knew may go.
    """
    # Counted time stands still between two counts: a listing of the same time may have begun before the note.
    until_ns = min(listings.last_ns - keep_ns, listings.before_ns - 1)
    return Ripe(until_ns, run, only_witnessed=facts.workspace is None)


def most_at_once(objects: int, guard_files: int, guard_fraction: float) -> int:
    """Return how many of `objects` may go in one run without a person (S1)."""
    return int(max(guard_files, guard_fraction * objects))


def next_due_ns(now_ns: int, chance: float) -> int:
    """Return the counted time of the next run, half a day to one and a half later; `chance` is in 0..1."""
    return now_ns + DAY_NS // 2 + int(chance * DAY_NS)
