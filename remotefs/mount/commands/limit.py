"""`remotefs limit`: the limits of bandwidth, while the mount runs."""

from __future__ import annotations

import logging

from remotefs.api.bandwidth import Bandwidth
from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.limit import LIMIT, LimitParams, Limits
from remotefs.units import size_text

_log = logging.getLogger(__name__)


class LimitCommands:
    """Changes how many bytes of files may go up and come down in a second."""

    def __init__(self, uploads: Bandwidth, downloads: Bandwidth) -> None:
        self._uploads = uploads
        self._downloads = downloads

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [LIMIT.bind(self.limit)]

    async def limit(self, params: LimitParams, _: Report) -> Limits:
        """Change what the parameters name. Return how it is now."""
        for name, bandwidth, rate in (
            ("uploads", self._uploads, params.upload_rate),
            ("downloads", self._downloads, params.download_rate),
        ):
            if rate is not None and rate != bandwidth.rate:
                bandwidth.set_rate(rate)
                _log.info("the limit of %s is %s from now on", name, f"{size_text(rate)} a second" if rate else "off")
        return Limits(
            upload_rate=self._uploads.rate,
            download_rate=self._downloads.rate,
            uploads_waiting=self._uploads.waiting,
            downloads_waiting=self._downloads.waiting,
        )
