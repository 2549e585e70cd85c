"""Records as hypothesis makes them: any that can be."""

from __future__ import annotations

import stat

from hypothesis import strategies as st

from remotefs.api.bounds import LATEST_NS, MOST_FILE_BYTES
from remotefs.data.share.records import EntryRecord, FileRecord, KeyedRecord, Record, entry_key, file_key
from remotefs.names import RESERVED

WRITERS = [f"{number:032x}" for number in (7, 11, 2**127)]

_IDS = st.text("aZ09_-", min_size=1, max_size=20)
_COMPONENTS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=10).filter(
    lambda name: name not in {".", "..", RESERVED}
)
PATHS = st.lists(_COMPONENTS, min_size=1, max_size=3).map("/".join)
_XATTRS = st.dictionaries(
    st.binary(min_size=1, max_size=6).map(lambda name: b"user." + name.replace(b"\0", b"x")),
    st.binary(max_size=20),
    max_size=2,
)
_OWNERS = st.integers(0, 2**32 - 2)
_TIMES = st.integers(-(2**63) + 1, 2**63 - 1)
_PERMISSIONS = st.integers(0, 0o7777)
HLCS = st.integers(1, LATEST_NS)

FILE_RECORDS = st.builds(
    FileRecord,
    _PERMISSIONS, _OWNERS, _OWNERS, _TIMES, _XATTRS,
    st.integers(0, MOST_FILE_BYTES),
    st.none() | st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.lists(PATHS, max_size=2, unique=True).map(tuple),
)  # fmt: skip
_FOLDERS = st.builds(EntryRecord, st.just("dir"), _PERMISSIONS, _OWNERS, _OWNERS, _TIMES, _XATTRS)
_TARGETS = st.binary(min_size=1, max_size=20).map(lambda target: target.replace(b"\0", b"x"))
_SYMLINKS = st.builds(EntryRecord, st.just("symlink"), _PERMISSIONS, _OWNERS, _OWNERS, _TIMES, _XATTRS, _TARGETS)
_DEVICES = st.sampled_from([stat.S_IFCHR, stat.S_IFBLK])
_NODES = st.builds(
    lambda mode, kind, rdev: EntryRecord("node", mode | kind, rdev=rdev),
    _PERMISSIONS, _DEVICES, st.integers(0, 2**32 - 1),
) | st.builds(
    lambda mode, kind: EntryRecord("node", mode | kind),
    _PERMISSIONS, st.sampled_from([stat.S_IFIFO, stat.S_IFSOCK]),
)  # fmt: skip
ENTRY_RECORDS: st.SearchStrategy[Record] = _FOLDERS | _SYMLINKS | _NODES | st.just(EntryRecord("gone"))

KEYED: st.SearchStrategy[KeyedRecord] = st.tuples(_IDS.map(file_key), HLCS, FILE_RECORDS) | st.tuples(
    PATHS.map(entry_key), HLCS, ENTRY_RECORDS
)
