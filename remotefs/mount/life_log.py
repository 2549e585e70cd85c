"""Tells the life of a mount in its log: its start, the connection, its work once an hour, its end (H4)."""

from __future__ import annotations

import logging
import os

import trio

from remotefs import __version__
from remotefs.mount.assembly import Components
from remotefs.mount.settings import MountSettings

_log = logging.getLogger(__name__)
_SUMMARY_EVERY_S = 3600.0
_EXPIRIES_EVERY_S = 600.0


class LifeLog:
    """Writes to the log what no single part of the mount tells. A request is no line."""

    def __init__(self, settings: MountSettings, parts: Components) -> None:
        self._settings = settings
        self._parts = parts

    async def run(self) -> None:
        """Log the start, then changes and summaries until cancelled, then the end."""
        self._log_start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow_connection)
                nursery.start_soon(self._sum_up)
                nursery.start_soon(self._tell_expiries)
        finally:
            _log.info("ended: %s", self.summary(), extra={"event": "end"})

    def summary(self) -> str:
        """Return the state and the work so far as a line."""
        parts = self._parts
        budget, content = parts.budget.statistics(), parts.content.statistics()
        return (
            f"{self._connection()}; {parts.remotes.shown_count():,} files, {parts.journal.count():,} changes pending, "
            f"{budget.granted:,} requests since the start ({budget.rate_limited:,} refused as too many), "
            f"{content.pinned_bytes:,} bytes pinned, {content.evictable_bytes:,} cached"
        )

    def _log_start(self) -> None:
        settings, facts = self._settings, self._parts.meta.facts
        options = [word for word, is_on in self._words() if is_on]
        _log.info(
            "remotefs %s, process %d: %s on %s, account %s, state folder %s, options %s",
            __version__, os.getpid(), settings.config.service.base_url, settings.mountpoint,
            "/".join(filter(None, [facts.organization, facts.workspace])) or "not named by the service",
            settings.state_dir, ",".join(options), extra={"event": "start"},
        )  # fmt: skip
        _log.info("started: %s", self.summary(), extra={"event": "started"})

    def _words(self) -> list[tuple[str, bool]]:
        options, service = self._settings.options, self._settings.config.service
        return [
            ("ro" if options.read_only else "rw", True),
            ("allow_other", options.allow_other),
            *((word, True) for word in options.extra),
            *((word, True) for word in options.shown.words()),
            (f"subdir={options.subdir}", bool(options.subdir)),
            (f"durability={self._settings.config.writeback.durability}", True),
            (f"upload_rate={service.upload_rate}", service.upload_rate > 0),
            (f"download_rate={service.download_rate}", service.download_rate > 0),
            (f"metrics={self._settings.config.metrics.listen}", bool(self._settings.config.metrics.listen)),
        ]

    async def _follow_connection(self) -> None:
        known = self._connection()
        while True:
            await self._parts.connectivity.changed()
            # Told of a change before it is made: the task runs after it.
            now = self._connection()
            if now != known:
                _log.info("%s", now, extra={"event": "online" if now == "online" else "offline"})
            known = now

    def _connection(self) -> str:
        link = self._parts.connectivity.statistics()
        if link.online:
            return "online"
        return f"offline: {link.trouble}"

    async def _sum_up(self) -> None:
        while True:
            await trio.sleep(_SUMMARY_EVERY_S)
            _log.info("so far: %s", self.summary(), extra={"event": "summary"})

    async def _tell_expiries(self) -> None:
        while True:
            self._parts.expiry_notices.look()
            await trio.sleep(_EXPIRIES_EVERY_S)
