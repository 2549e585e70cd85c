"""What the rename of a folder means for the files beneath it (W7): planned at once where they are few, else in steps.

A rename of a folder of 100,000 files must not hold the loop for as long as it takes to look at each (H8). So it commits
the entry and one row (`store/renames.py`), and `follow` does the rest in steps of a few files, each a transaction:

    rename ─► row ─► count, to decide whether the files of ours are uploaded again ─► let each file follow ─► no row

Nothing is wrong in between. An upload looks at the path of its file when it starts, so it takes the new name, or does
not start where the file stays here now (N6). An upload under way of a file that stays here is cut in the rename itself.
An alias is no row: it follows from the path. No DELETE is sent meanwhile, because a file that has not followed may be
the successor of the id (W5).

A file that fails alone is left behind (`left_behind`), and the others go on without it. Where that happens in a folder
that follows in the rename itself, its files follow in steps, too.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from itertools import islice

from remotefs import crashpoints
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.left_behind import LeftBehind
from remotefs.data.intents.paths import InodePaths
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.intents.reuploads import ReuploadRule, Tally
from remotefs.errors import OutOfSpace
from remotefs.store.records import Entry, Inode
from remotefs.store.renames import Renamed
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)
# The entries that a rename looks at itself. A look at one takes up to 0.1 ms.
_LOOK = 100
# The entries of one step, which takes about a millisecond: one read is five requests, and each may wait for a step.
_A_STEP = 10


class RenamedFolders:
    """Plans what follows from renames of folders; `added` is set when there is something to `follow`.

    Folders with at most `at_once` entries beneath are followed in the rename.
    """

    def __init__(
        self,
        store: Store,
        paths: InodePaths,
        planner: IntentPlanner,
        reupload_rule: ReuploadRule,
        in_flight: UploadsInFlight,
        left_behind: LeftBehind,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._renames = store.renames
        self._paths = paths
        self._planner = planner
        self._reupload_rule = reupload_rule
        self._in_flight = in_flight
        self._left_behind = left_behind
        self.at_once = _LOOK
        self.added = Wakeup()

    def renamed(self, directory: int) -> None:
        """Plan what follows from the rename of a directory, inside its transaction."""
        beneath = list(islice(self._tree.beneath(directory), _LOOK + 1))
        reupload: bool | None = None
        if len(beneath) <= _LOOK:
            try:
                reupload = self._reupload_rule.is_within_limits(self._files(beneath))
                if len(beneath) <= self.at_once:
                    self._follow_at_once(beneath, reupload=reupload)
                    return
            except OutOfSpace:
                raise
            except Exception as error:  # noqa: BLE001 - one file must not keep its folder from being renamed (H7)
                # In steps the file that fails is told, and left behind. What others have done here is done again then.
                _log.info("the files beneath a renamed folder follow it one by one: %s", error)
        self._renames.add(directory, reupload=reupload)
        self._cut_what_stays_here()
        self.added.set()

    def _follow_at_once(self, beneath: list[Entry], *, reupload: bool) -> None:
        for file in self._files(beneath):
            self._planner.schedule(file, reupload=reupload)

    def follow(self, renamed: Renamed) -> Iterator[None]:
        """Let the files beneath a renamed folder follow it, a few in each step; the caller lets others run in between.

        A rename of the same folder meanwhile ends it.
        """
        reupload = renamed.reupload
        if reupload is None:
            reupload = yield from self._is_within_limits(renamed.ino)
            self._renames.decide(renamed.number, reupload=bool(reupload))
            crashpoints.reached("renamed folder: it is decided", renamed.ino)
        entries = self._tree.beneath(renamed.ino)
        while self._renames.is_pending(renamed.number):
            some = list(islice(entries, _A_STEP))
            self._follow_together(_inos(some), renamed.number, reupload=bool(reupload))
            is_last = len(some) < _A_STEP
            if is_last:
                self._end(renamed.number)
            crashpoints.reached("renamed folder: files have followed", renamed.ino)
            yield
            if is_last:
                return

    def try_again(self) -> Iterator[None]:
        """Let those files follow, one in each step, that were left behind and are to be tried again now."""
        for file in self._left_behind.due():
            self._follow_alone(file.ino, file.number, reupload=file.reupload)
            yield
        for number in self._renames.put_off():
            self._end(number)

    def next_try_s(self) -> float:
        """Return the seconds until a file that was left behind is to be tried again."""
        return self._left_behind.next_s()

    def _follow_together(self, inos: list[int], number: int, *, reupload: bool) -> None:
        try:
            with self._db.transaction():
                for ino in inos:
                    self._let_follow(ino, number, reupload=reupload)
        except OutOfSpace:
            raise
        except Exception:  # noqa: BLE001 - it is caught again from the file whose it is
            for ino in inos:
                self._follow_alone(ino, number, reupload=reupload)
        else:
            for ino in inos:
                self._left_behind.forget(ino)

    def _follow_alone(self, ino: int, number: int, *, reupload: bool) -> None:
        try:
            with self._db.transaction():
                self._let_follow(ino, number, reupload=reupload)
        except OutOfSpace:
            raise
        except Exception as error:  # noqa: BLE001 - one file must not hold up the others (H7)
            self._left_behind.leave(ino, number, error, reupload=reupload)
        else:
            self._left_behind.forget(ino)

    def _let_follow(self, ino: int, number: int, *, reupload: bool) -> None:
        # The file may be gone by now, or its folder renamed again.
        file = self._tree.find(ino) if self._renames.is_pending(number) else None
        if file is not None and not self._renames.has_followed(ino, number):
            self._planner.follow(file, reupload=reupload)

    def _end(self, number: int) -> None:
        if self._left_behind.has_any(number):
            self._renames.put_off_rest_of(number)
        else:
            self._renames.remove(number)

    def _is_within_limits(self, directory: int) -> Generator[None, None, bool]:
        tally = self._reupload_rule.tally()
        entries = self._tree.beneath(directory)
        while some := list(islice(entries, _A_STEP)):
            if not all(self._is_within_with(tally, ino) for ino in _inos(some)):
                return False
            yield
        return True

    def _is_within_with(self, tally: Tally, ino: int) -> bool:
        try:
            file = self._tree.find(ino)
            return file is None or tally.is_within_with(file)
        except Exception:  # noqa: BLE001 - such a file does not follow either, and that is told then
            return True

    def _files(self, entries: Iterable[Entry]) -> Iterator[Inode]:
        # Entries may be gone by now.
        return (inode for entry in entries if entry.is_file and (inode := self._tree.find(entry.ino)) is not None)

    def _cut_what_stays_here(self) -> None:
        """Cut the uploads under way of files that stay on this machine from now on (N6)."""
        for ino in list(self._in_flight.under_way):
            inode = self._tree.find(ino)
            if inode is not None and inode.nlink > 0 and self._paths.is_local(inode):
                self._planner.schedule(inode)


def _inos(entries: Iterable[Entry]) -> list[int]:
    return [entry.ino for entry in entries if entry.is_file]
