"""The age of the trash: time that has passed as far as every clock agrees (S2).

Time is counted only after an answer of the service, never faster than the service's clock or the steady clock, and only
while both tell of one time: what lies between two epochs of the service's clock counts as nothing. So a clock that
jumps, a wrong clock at the start of the machine, or a mount that reaches no service age nothing.
"""

from __future__ import annotations

from remotefs.clocks import Reading, ServiceClock, SteadyClock
from remotefs.store.meta import Meta

_NS = 1_000_000_000
# Not after each poll: a commit every few seconds would cost more than it is worth.
_SAVE_EVERY_NS = 60 * _NS


class Timekeeper:
    """Saves the clocks, and counts the time that has passed."""

    def __init__(self, meta: Meta, steady: SteadyClock, service: ServiceClock) -> None:
        self._meta = meta
        self._steady = steady
        self._service = service

    def aged_ns(self) -> int:
        """Return the time that has passed since the state folder was made, in ns, as it was last counted."""
        return self._meta.facts.aged_ns

    def aged_at_most_ns(self) -> int:
        """Return the most that `aged_ns` can be for the present moment once its time is counted, in ns.

        What is dated by it never seems older than it is.
        """
        facts = self._meta.facts
        uncounted_ns = 0 if facts.aged_to is None else self._steady() - facts.aged_to.steady_ns
        return facts.aged_ns + max(uncounted_ns, 0)

    def note(self) -> None:
        """Count the time up to now and save the clocks, once a minute; called after an answer of the service."""
        facts, now_ns = self._meta.facts, self._steady()
        saved, epoch = facts.steady, facts.service_clock.epoch if facts.service_clock else None
        if saved is not None and now_ns - saved.steady_ns < _SAVE_EVERY_NS and epoch == self._service.epoch:
            return
        changes: dict[str, object] = {"steady": self._steady.mark(), "service_clock": self._service.mark()}
        if self._service.is_sure:
            reading = Reading(self._service.now_ns(), now_ns)
            passed_ns = _passed_ns(facts.aged_to, reading) if epoch == self._service.epoch else 0
            changes |= {"aged_ns": facts.aged_ns + passed_ns, "aged_to": reading}
        self._meta.record(**changes)


def _passed_ns(before: Reading | None, now: Reading) -> int:
    if before is None:
        return 0
    return max(min(now.service_ns - before.service_ns, now.steady_ns - before.steady_ns), 0)
