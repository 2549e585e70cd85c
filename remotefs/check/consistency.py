"""Compares the parts of a state folder with each other and with the service: pure.

    tree ── inode.file_id / remote.ino ── remote files ── listing of the service
      │ staged_gen                            │ id
    staging                                content
      └───────────── intents ─────────────────┘

The rules hold at every moment between two steps of a mount that works, so a finding is a defect or damage, never a
passing state. (A crash leaves more; recovery comes first.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from remotefs.check.findings import Finding, Kind
from remotefs.store.audit import Name, Rows
from remotefs.store.records import ROOT_INO, ContentState, Inode, Intent, IntentKind, Origin, Remote

_MAX_NAME_BYTES = 255
# A file that the service stamped less than so long before the listing may not be in it yet, or no longer.
LAG_NS = 60 * 1_000_000_000


@dataclass(frozen=True)
class Kept:
    """Content on this disk; `stored` bytes of it."""

    pinned: bool
    stored: int
    is_damaged: bool = False
    is_lost: bool = False


@dataclass(frozen=True)
class Listed:
    """A file as the service lists it."""

    filename: str
    size: int
    created_ns: int
    expires_ns: int | None = None


@dataclass(frozen=True)
class Listing:
    """A complete listing of the service: its files by id.

    `unreadable` are the ids of entries that say no more than that their files exist. `has_all_ids` is false where an
    entry has not even an id: then a file that the listing lacks may be in it all the same (S4).
    """

    files: Mapping[str, Listed]
    unreadable: Container[str] = ()
    has_all_ids: bool = True

    def may_have(self, file_id: str) -> bool:
        """Return whether the service may have a file, as far as the listing tells."""
        return file_id in self.files or file_id in self.unreadable or not self.has_all_ids


@dataclass(frozen=True)
class Snapshot:
    """Everything that is compared, as of one moment.

    `in_use`: inodes that a handle or the kernel still refers to. `stays_here` tells of a path whether it is never
    uploaded (N6). `listing` is None where the service was not asked; `now_ns` is its clock.
    """

    rows: Rows
    staged: Mapping[tuple[int, int], int] = field(default_factory=dict)
    content: Mapping[str, Kept] = field(default_factory=dict)
    stray_bytes: Sequence[str] = ()
    in_use: Container[int] = ()
    stays_here: Callable[[str], bool] = lambda _: False
    listing: Listing | None = None
    now_ns: int = 0

    @cached_property
    def names(self) -> Mapping[int, list[Name]]:
        """Return the names by inode."""
        found: defaultdict[int, list[Name]] = defaultdict(list)
        for name in self.rows.names:
            found[name.ino].append(name)
        return found

    @cached_property
    def upload_of(self) -> Mapping[int, Intent]:
        """Return the pending UPLOAD or REUPLOAD by inode."""
        return {i.ino: i for i in self.rows.intents if i.kind is not IntentKind.DELETE and i.ino is not None}

    @cached_property
    def entries(self) -> Mapping[int, list[int]]:
        """Return the inodes in each folder."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for name in self.rows.names:
            if (parent := self.rows.inodes.get(name.parent)) and parent.is_dir:
                found[name.parent].append(name.ino)
        return found

    @cached_property
    def holders(self) -> Mapping[str, list[Inode]]:
        """Return the inodes by the remote file that they are bound to."""
        found: defaultdict[str, list[Inode]] = defaultdict(list)
        for inode in self.rows.inodes.values():
            if inode.file_id is not None:
                found[inode.file_id].append(inode)
        return found

    @cached_property
    def to_go(self) -> frozenset[str]:
        """Return the ids that some intent deletes, now or later."""
        intents = self.rows.intents
        return frozenset({i.file_id for i in intents if i.file_id} | {one for i in intents for one in i.replaces})

    @cached_property
    def following(self) -> frozenset[int]:
        """Return the inodes beneath renamed folders, whose intents are still to be brought in line."""
        return frozenset(ino for folder in self.rows.renamed for ino in _beneath(self, folder))

    def path(self, ino: int) -> str:
        """Return the first path of an inode; `(inode N)` as its start where no path leads to it."""
        components: list[str] = []
        seen: set[int] = set()
        while ino != ROOT_INO and ino not in seen and self.names.get(ino):
            seen.add(ino)
            name = self.names[ino][0]
            components.append(name.name)
            ino = name.parent
        start = [] if ino == ROOT_INO else [f"(inode {ino})"]
        return "/".join([*start, *reversed(components)])

    def path_of(self, name: Name) -> str:
        """Return the path of one of several names."""
        folder = self.path(name.parent)
        return f"{folder}/{name.name}" if folder else name.name


def inconsistencies(state: Snapshot) -> list[Finding]:
    """Return all findings, in a stable order."""
    if not (root := state.rows.inodes.get(ROOT_INO)) or not root.is_dir:
        return [Finding(Kind.NO_ROOT, "", "the tree has no root folder")]
    checks = (_names, _links, _reach, _bytes, _unsent, _strays, _bindings, _remotes, _pins, _intents, _service)
    return sorted({finding for check in checks for finding in check(state)})


# -- the tree


def _names(state: Snapshot) -> Iterator[Finding]:
    inodes = state.rows.inodes
    for name in state.rows.names:
        path = state.path_of(name)
        parent = inodes.get(name.parent)
        if name.ino not in inodes:
            yield Finding(Kind.NAME_OF_NOTHING, path, f"it names inode {name.ino}, which is not there", name.ino)
        if parent is None or not parent.is_dir:
            what = f"its folder, inode {name.parent}, is {'not a folder' if parent else 'missing'}"
            yield Finding(Kind.NAME_IN_NOTHING, path, what, name.ino, number=name.parent)
        if name.name in {"", ".", ".."} or {"/", "\0"} & set(name.name) or len(_encoded(name)) > _MAX_NAME_BYTES:
            yield Finding(Kind.BAD_NAME, path, f"{name.name!r} cannot be a name", name.ino)


def _links(state: Snapshot) -> Iterator[Finding]:
    folders = Counter(n.parent for n in state.rows.names if (i := state.rows.inodes.get(n.ino)) and i.is_dir)
    for ino, inode in state.rows.inodes.items():
        names = state.names.get(ino, [])
        expected = len(names)
        if inode.is_dir and (names or ino == ROOT_INO):
            expected = 2 + folders[ino]
        if inode.nlink != expected and (names or ino == ROOT_INO):
            what = f"it says {inode.nlink} links and has {expected}"
            yield Finding(Kind.WRONG_LINKS, state.path(ino), what, ino, number=expected)
        if inode.is_dir and ino != ROOT_INO and names and (inode.parent != names[0].parent or len(names) > 1):
            what = f"it says that it lies in inode {inode.parent}, its name is in {names[0].parent}"
            yield Finding(Kind.WRONG_PARENT, state.path(ino), what, ino, number=names[0].parent)


def _reach(state: Snapshot) -> Iterator[Finding]:
    """Find inodes with links that no folder leads to from the root, such as folders in a loop and their content."""
    inodes = state.rows.inodes
    lost = {ino for ino, inode in inodes.items() if inode.nlink > 0} - _beneath(state, ROOT_INO)
    while lost:
        ino = _topmost(state, lost)
        yield Finding(Kind.UNREACHABLE, state.path(ino), "no folder leads to it", ino)
        # What lies below it comes back with it.
        lost -= _beneath(state, ino)


def _beneath(state: Snapshot, ino: int) -> set[int]:
    reached, places = {ino}, [ino]
    while places:
        for below in state.entries.get(places.pop(), ()):
            if below not in reached:
                reached.add(below)
                places.append(below)
    return reached


def _topmost(state: Snapshot, lost: Container[int]) -> int:
    """Return an inode that no other lost folder leads to; in a loop one of its folders."""
    seen: set[int] = set()
    at = min(ino for ino in state.rows.inodes if ino in lost)
    while at not in seen:
        seen.add(at)
        parents = (name.parent for name in state.names.get(at, ()))
        above = next((parent for parent in parents if parent in lost and state.rows.inodes[parent].is_dir), None)
        if above is None:
            return at
        at = above
    return at


# -- bytes


def _bytes(state: Snapshot) -> Iterator[Finding]:
    for inode in _files(state):
        path, remote = state.path(inode.ino), _remote(state, inode)
        kept = state.content.get(inode.file_id or "")
        is_kept = kept is not None and not kept.is_lost
        if inode.staged_gen is not None:
            size = state.staged.get((inode.ino, inode.staged_gen))
            if size is None and not (inode.state == ContentState.CLEAN and is_kept):
                yield Finding(Kind.NO_BYTES, path, "what was last written to it is not in staging", inode.ino)
            elif size is not None and inode.state != ContentState.DIRTY and size != inode.size:
                yield Finding(Kind.WRONG_SIZE, path, f"{inode.size} bytes, of which {size} are staged", inode.ino)
        elif inode.state != ContentState.CLEAN and inode.size:
            yield Finding(Kind.NO_BYTES, path, "it was written to and its bytes are not in staging", inode.ino)
        elif inode.size and inode.file_id is None:
            yield Finding(Kind.NO_BYTES, path, "it has bytes neither here nor at the service", inode.ino)
        elif inode.size and remote is not None and _is_sole(state, remote) and not is_kept:
            yield Finding(Kind.NO_BYTES, path, "it was uploaded from here, and its bytes are not", inode.ino)
        if kept is not None and kept.pinned and kept.is_damaged and not kept.is_lost:
            yield Finding(Kind.DAMAGED, path, "the only copy of it does not match its sums", inode.ino)
        if remote is not None and inode.state == ContentState.CLEAN and inode.size != remote.size:
            what = f"{inode.size} bytes here, {remote.size} of {remote.file_id}"
            yield Finding(Kind.WRONG_SIZE, path, what, inode.ino)


def _unsent(state: Snapshot) -> Iterator[Finding]:
    for inode in _files(state):
        if inode.state != ContentState.CLOSED or inode.ino in state.upload_of or inode.ino in state.following:
            continue
        if not all(state.stays_here(state.path_of(name)) for name in state.names.get(inode.ino, ())):
            what = "it was closed, and no upload of it is pending"
            yield Finding(Kind.NEVER_SENT, state.path(inode.ino), what, inode.ino)


def _strays(state: Snapshot) -> Iterator[Finding]:
    for (ino, generation), size in state.staged.items():
        inode = state.rows.inodes.get(ino)
        if inode is None or (inode.staged_gen != generation and ino not in state.in_use):
            what = f"{size} bytes of version {generation}, which no file has"
            yield Finding(Kind.STRAY_STAGED, state.path(ino), what, ino, number=generation)
    for file_id, kept in state.content.items():
        remote = state.rows.remotes.get(file_id)
        if _is_free(state, remote, file_id):
            what = "its remote file was given up" if remote else "its id is not known"
            yield Finding(Kind.STRAY_CONTENT, f"(content {file_id})", f"{kept.stored} bytes; {what}", file_id=file_id)
    for file_id in state.stray_bytes:
        yield Finding(Kind.STRAY_BYTES, f"(content {file_id})", "what they have to be is not known", file_id=file_id)


def _is_free(state: Snapshot, remote: Remote | None, file_id: str) -> bool:
    holders = [inode for inode in state.holders.get(file_id, ()) if inode.nlink or inode.ino in state.in_use]
    return not holders and (remote is None or bool(remote.tombstoned))


# -- remote files


def _bindings(state: Snapshot) -> Iterator[Finding]:
    for inode in _files(state):
        remote = _remote(state, inode)
        if inode.file_id is None:
            continue
        path = state.path(inode.ino)
        if remote is None:
            yield Finding(Kind.UNKNOWN_ID, path, f"{inode.file_id} is not known", inode.ino, inode.file_id)
        elif remote.tombstoned:
            what = f"{inode.file_id} is marked for deletion"
            yield Finding(Kind.GIVEN_UP_ID, path, what, inode.ino, inode.file_id)
        elif remote.ino != inode.ino:
            what = f"{inode.file_id} is shown by {state.path(remote.ino) if remote.ino else 'nothing'}"
            yield Finding(Kind.WRONG_INODE, path, what, inode.ino, inode.file_id)


def _remotes(state: Snapshot) -> Iterator[Finding]:
    for file_id, remote in state.rows.remotes.items():
        if remote.tombstoned or (remote.expires_ns is not None and remote.expires_ns <= state.now_ns):
            continue
        inode = state.rows.inodes.get(remote.ino) if remote.ino is not None else None
        if remote.ino is None:
            yield Finding(Kind.NOT_SHOWN, remote.filename, f"no path shows {file_id}", file_id=file_id)
        elif inode is None or inode.file_id != file_id:
            what = f"{file_id} should be shown by inode {remote.ino}"
            yield Finding(Kind.WRONG_INODE, remote.filename, what, remote.ino, file_id)


def _pins(state: Snapshot) -> Iterator[Finding]:
    for file_id, kept in state.content.items():
        remote = state.rows.remotes.get(file_id)
        if remote is not None and _is_sole(state, remote) and not kept.pinned and not remote.tombstoned:
            path = state.path(remote.ino) if remote.ino else remote.filename
            yield Finding(Kind.NOT_PINNED, path, "its bytes might be evicted", remote.ino or 0, file_id)


# -- pending work and the service


def _intents(state: Snapshot) -> Iterator[Finding]:
    for intent in state.rows.intents:
        ino, file_id = intent.ino or 0, intent.file_id or ""
        if intent.kind is IntentKind.DELETE and file_id not in state.rows.remotes:
            what = f"a delete of {file_id}, which is not known"
            yield Finding(Kind.STRAY_INTENT, f"({file_id})", what, ino, file_id, intent.seq)
        elif intent.kind is not IntentKind.DELETE and intent.ino not in state.rows.inodes:
            what = f"an {intent.kind} of inode {ino}, which is not there"
            yield Finding(Kind.STRAY_INTENT, f"(inode {ino})", what, ino, number=intent.seq)


def _service(state: Snapshot) -> Iterator[Finding]:
    if state.listing is None:
        return
    for file_id, remote in state.rows.remotes.items():
        listed = state.listing.files.get(file_id)
        is_there = listed is not None or file_id in state.listing.unreadable
        is_recent = _is_recent(state, remote.created_ns)
        if is_there and remote.tombstoned and file_id not in state.to_go and not is_recent:
            what = f"nothing deletes {file_id}, and the listing has it"
            yield Finding(Kind.LEFT_REMOTE, remote.filename, what, file_id=file_id)
        elif not state.listing.may_have(file_id) and not remote.tombstoned and not is_recent:
            yield Finding(Kind.MISSING_REMOTE, _shown(state, remote), f"the listing lacks {file_id}", file_id=file_id)
        elif listed is not None and (listed.filename, listed.size) != (remote.filename, remote.size_as_listed):
            what = f"{file_id} is listed as {listed.filename!r} with {listed.size} bytes"
            yield Finding(Kind.OTHER_REMOTE, _shown(state, remote), what, file_id=file_id)
    for file_id, listed in state.listing.files.items():
        # The service lists expired files for some weeks; one that had expired before it was first seen is never shown.
        is_over = listed.expires_ns is not None and listed.expires_ns <= state.now_ns
        if file_id not in state.rows.remotes and not _is_recent(state, listed.created_ns) and not is_over:
            yield Finding(Kind.UNKNOWN_REMOTE, listed.filename, f"no row knows {file_id}", file_id=file_id)


def _is_recent(state: Snapshot, created_ns: int) -> bool:
    """Return whether a listing may not show yet what became of a file; a time far in the future says nothing."""
    return abs(state.now_ns - created_ns) < LAG_NS


def _shown(state: Snapshot, remote: Remote) -> str:
    return state.path(remote.ino) if remote.ino else remote.filename


def _files(state: Snapshot) -> Iterator[Inode]:
    """Return the regular files with a name; one without a name concerns only the program that has it open."""
    return (inode for inode in state.rows.inodes.values() if inode.is_file and inode.nlink > 0)


def _remote(state: Snapshot, inode: Inode) -> Remote | None:
    return state.rows.remotes.get(inode.file_id) if inode.file_id is not None else None


def _is_sole(state: Snapshot, remote: Remote) -> bool:
    """Return whether this machine has the only readable copy: it was uploaded here, and nobody gives it back."""
    return remote.origin == Origin.OURS and not remote.downloadable and remote.file_id not in state.rows.shared


def _encoded(name: Name) -> bytes:
    return name.name.encode("utf-8", "surrogatepass")
