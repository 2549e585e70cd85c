"""The task that announces the changes of others: one call of the helper after the other, at a gentle pace."""

from __future__ import annotations

import errno
import logging
import math
import os
import secrets
from pathlib import Path

import trio

from remotefs.fuse.notify import KernelNotifier
from remotefs.mount.announcing.process import MAX_PACKET_BYTES, HelperHangs, HelperProcess
from remotefs.store.tree import Tree
from remotefs.vfs.announcements import Announcement, Announcements
from remotefs.vfs.view import View

_log = logging.getLogger(__name__)
# The helper rests so many times as long as its call took: `umount` fails during a call, and other programs want the
# mount to work for them.
_REST = 3.0
_LEAST_REST_S = 0.001
_MOST_REST_S = 0.25
# A helper without work ends after this time, because its memory may be of use elsewhere: 3 MB.
_IDLE_S = 300.0


class Announcer:
    """Announces names in the mount at `mountpoint`, which answers the kernel while `run` runs."""

    def __init__(
        self, announcements: Announcements, tree: Tree, view: View, notifier: KernelNotifier, mountpoint: Path
    ) -> None:
        self._announcements = announcements
        self._notifier = notifier
        self._tree = tree
        self._view = view
        self._mountpoint = os.fsencode(mountpoint)
        self._helper = HelperProcess(self._note_pids)
        # The device number of the mount, which the helper has to find at the mountpoint.
        self._device = 0
        # When the last call ended, by trio's clock.
        self._announced_at = -math.inf
        # How many names that found no room were logged.
        self._dropped = 0

    async def run(self) -> None:
        """Announce until cancelled. Raises OSError where no helper can be started, HelperHangs."""
        self._announcements.begin()
        try:
            while True:
                await self._announcements.wakeup.wait(_IDLE_S)
                await self._announce_all()
                self._log_dropped()
                if trio.current_time() - self._announced_at >= _IDLE_S:
                    self._helper.end()
        finally:
            self._announcements.end()
            self._helper.end()

    async def _announce_all(self) -> None:
        while (announcement := self._announcements.next()) is not None:
            began = trio.current_time()
            try:
                await self._announce(announcement)
            except HelperHangs:
                # The next announcement gets another helper. This one is lost.
                _log.warning("announcing %s: the helper process did not answer, and was ended", announcement.name)
            finally:
                self._helper.reap()
            self._announced_at = trio.current_time()
            took_s = self._announced_at - began
            await trio.sleep(min(max(_REST * took_s, _LEAST_REST_S), _MOST_REST_S))

    def _log_dropped(self) -> None:
        dropped = self._announcements.dropped
        if dropped > self._dropped:
            _log.warning("%d changes of others raise no event: too many came at a time", dropped - self._dropped)
        self._dropped = dropped

    async def _announce(self, it: Announcement) -> None:
        if not self._helper.is_running:
            await self._begin()
        fields = self._fields(it)
        if fields is None or not self._helper.is_running:
            self._announcements.done()
            return
        number = errno.EPERM
        try:
            async with self._notifier.held_back():
                number = await self._helper.call(it.kind.value, self._device, self._mountpoint, *fields)
        finally:
            self._announcements.done(failed=number != 0)
        if number:
            # EEXIST, ENOENT, EPERM: the name was changed here meanwhile. EACCES: the mounting user may not change it.
            _log.debug("%s of %s was not announced: %s", it.kind.value, it.name, os.strerror(number))

    async def _begin(self) -> None:
        """Start a helper, and find out which device the mount is; without a helper if something else is there."""
        await self._helper.start()
        self._announcements.probe, self._announcements.was_probed = secrets.token_hex(16).encode(), False
        async with self._notifier.held_back():
            device = await self._helper.call("probe", 0, self._mountpoint, b"", self._announcements.probe)
        self._announcements.probe = None
        if self._announcements.was_probed:
            self._device = device
        else:
            _log.debug("the mountpoint does not lead to this mount now")
            self._helper.end()

    def _fields(self, it: Announcement) -> list[bytes] | None:
        """Return what the helper has to know, None where a folder has no path in the mount, or too long a one."""
        path, new_path = self._path(it.parent), self._path(it.new_parent) if it.new_name else b""
        if path is None or new_path is None:
            return None
        fields = [path, it.name.encode(), str(it.inode.mode).encode(), new_path, it.new_name.encode()]
        return fields if sum(map(len, fields)) + len(self._mountpoint) < MAX_PACKET_BYTES else None

    def _path(self, folder: int) -> bytes | None:
        if folder == self._view.root_ino:
            return b""
        path = next(self._tree.each_path_of(folder), None)
        return self._view.inside(path).encode() if path is not None and self._view.shows(path) else None

    def _note_pids(self, pids: set[int]) -> None:
        self._announcements.pids = pids
