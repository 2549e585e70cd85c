"""What a state folder may look like, and each thing that may be wrong with it: on tables, without a disk."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.check.consistency import LAG_NS, Kept, Listed, Listing, Snapshot, inconsistencies
from remotefs.check.findings import ADVICE, Finding, Kind
from remotefs.store.audit import Name, Rows
from remotefs.store.records import ROOT_INO, ContentState, Inode, Intent, IntentKind, Origin, Remote

NOW_NS = 10 * LAG_NS


def inode(ino: int, *, folder: bool = False, **fields: Any) -> Inode:
    values: dict[str, Any] = dict.fromkeys(Inode._fields, 0) | {
        "ino": ino, "mode": (stat.S_IFDIR if folder else stat.S_IFREG) | 0o700, "nlink": 2 if folder else 1,
        "target": None, "parent": ROOT_INO if folder else None, "staged_gen": None, "file_id": None,
        "conflict_id": None, "replaced_by": None,
    }  # fmt: skip
    return Inode(**(values | fields))


def remote(file_id: str, ino: int | None, **fields: Any) -> Remote:
    known = {"filename": f"n{ino}", "size": 3, "mime_type": "x/y", "created_ns": 1, "expires_ns": None}
    return Remote(file_id, **(known | {"downloadable": False, "origin": Origin.OURS, "ino": ino} | fields))


def intent(seq: int, kind: IntentKind, ino: int | None = None, file_id: str | None = None, **fields: Any) -> Intent:
    empty = {"replaces": (), "due_ns": 0, "tries": 0, "reason": None, "attempt": None}
    values: dict[str, Any] = dict.fromkeys(Intent._fields) | empty
    return Intent(**(values | {"seq": seq, "kind": kind, "ino": ino, "file_id": file_id} | fields))


def rows(*parts: Inode | Name | Remote | Intent) -> Rows:
    return Rows(
        inodes={part.ino: part for part in parts if isinstance(part, Inode)},
        names=[part for part in parts if isinstance(part, Name)],
        remotes={part.file_id: part for part in parts if isinstance(part, Remote)},
        intents=[part for part in parts if isinstance(part, Intent)],
    )


# A folder with an upload of ours; a file that waits for its upload; a generated file that is not here; a further link;
# one that is unlinked and open; one that was given up and is about to be deleted.
SOUND = Snapshot(
    rows=rows(
        inode(1, folder=True, nlink=3), inode(2, folder=True),
        inode(3, size=3, file_id="a"), inode(4, size=5, state=ContentState.CLOSED, staged_gen=1, nlink=2),
        inode(5, size=3, file_id="g"), inode(6, size=2, nlink=0, state=ContentState.DIRTY, staged_gen=2),
        Name(1, "d", 2), Name(2, "ours", 3), Name(1, "new", 4), Name(2, "again", 4), Name(1, "made", 5),
        remote("a", 3), remote("g", 5, origin=Origin.FOREIGN, downloadable=True), remote("old", None, tombstoned=1),
        remote("gone", None, expires_ns=1),
        intent(1, IntentKind.UPLOAD, 4), intent(2, IntentKind.DELETE, None, "old"),
    ),
    staged={(4, 1): 5, (6, 2): 2},
    content={"a": Kept(pinned=True, stored=3)},
    in_use=frozenset({6}),
    listing=Listing(
        {"a": Listed("n3", 3, 1), "g": Listed("n5", 3, 1), "old": Listed("nNone", 3, 1), "gone": Listed("nNone", 3, 1)}
    ),
    now_ns=NOW_NS,
)  # fmt: skip


def change(state: Snapshot, *parts: Inode | Name | Remote | Intent, without: tuple[Any, ...] = ()) -> Snapshot:
    """With other rows, and without some: inodes and remotes by their key, names and intents themselves."""
    new = rows(*parts)
    return replace(
        state,
        rows=Rows(
            inodes={k: v for k, v in (dict(state.rows.inodes) | dict(new.inodes)).items() if k not in without},
            names=[name for name in [*state.rows.names, *new.names] if name not in without],
            remotes={k: v for k, v in (dict(state.rows.remotes) | dict(new.remotes)).items() if k not in without},
            intents=[i for i in [*state.rows.intents, *new.intents] if i.seq not in [-one for one in without if isinstance(one, int)]],
        ),
    )  # fmt: skip


def listing(*without: str, unreadable: tuple[str, ...] = (), has_all_ids: bool = True, **more: Listed) -> Snapshot:
    """Return the sound state with another listing."""
    assert SOUND.listing is not None
    files = {file_id: listed for file_id, listed in SOUND.listing.files.items() if file_id not in without}
    return replace(SOUND, listing=Listing(files | more, unreadable, has_all_ids))


def kinds(state: Snapshot) -> list[Kind]:
    return [finding.kind for finding in inconsistencies(state)]


def of(number: int, **fields: Any) -> Inode:
    return SOUND.rows.inodes[number]._replace(**fields)


def about(file_id: str, **fields: Any) -> Remote:
    return SOUND.rows.remotes[file_id]._replace(**fields)


def test_what_is_sound_has_no_findings() -> None:
    assert inconsistencies(SOUND) == []


def test_every_kind_has_its_advice() -> None:
    assert set(ADVICE) == set(Kind)


CASES: dict[str, tuple[Snapshot, list[Kind]]] = {
    "no root": (change(SOUND, without=(1,)), [Kind.NO_ROOT]),
    "a name of nothing": (change(SOUND, Name(1, "x", 99)), [Kind.NAME_OF_NOTHING]),
    "a name in a file": (change(SOUND, Name(3, "x", 7), inode(7)), [Kind.NAME_IN_NOTHING, Kind.UNREACHABLE]),
    "a name with a slash": (change(SOUND, Name(1, "a/b", 7), inode(7)), [Kind.BAD_NAME]),
    "a name that is too long": (change(SOUND, Name(1, "ü" * 128, 7), inode(7)), [Kind.BAD_NAME]),
    "too many links": (change(SOUND, of(4, nlink=3)), [Kind.WRONG_LINKS]),
    "a folder's links": (change(SOUND, of(1, nlink=2)), [Kind.WRONG_LINKS]),
    "another parent": (change(SOUND, of(2, parent=5)), [Kind.WRONG_PARENT]),
    "a file without a name": (change(SOUND, inode(7)), [Kind.UNREACHABLE]),
    "a loop": (
        change(SOUND, inode(7, folder=True, parent=8, nlink=3), inode(8, folder=True, parent=7, nlink=3),
               Name(7, "x", 8), Name(8, "y", 7), inode(9), Name(8, "z", 9)),
        [Kind.UNREACHABLE],
    ),
    "staged bytes are gone": (replace(SOUND, staged={(6, 2): 2}), [Kind.NO_BYTES]),
    "staged bytes are short": (replace(SOUND, staged={(4, 1): 4, (6, 2): 2}), [Kind.WRONG_SIZE]),
    "written and not staged": (change(SOUND, of(4, staged_gen=None)), [Kind.NO_BYTES, Kind.STRAY_STAGED]),
    "bytes nowhere": (change(SOUND, inode(7, size=1), Name(1, "x", 7)), [Kind.NO_BYTES]),
    "an upload's bytes are gone": (replace(SOUND, content={}), [Kind.NO_BYTES]),
    "an upload's bytes are lost": (replace(SOUND, content={"a": Kept(True, 0, is_damaged=True, is_lost=True)}), [Kind.NO_BYTES]),
    "an upload's bytes are damaged": (replace(SOUND, content={"a": Kept(True, 3, is_damaged=True)}), [Kind.DAMAGED]),
    "another size": (change(SOUND, of(3, size=4)), [Kind.WRONG_SIZE]),
    "closed and never sent": (change(SOUND, without=(-1,)), [Kind.NEVER_SENT]),
    "staged bytes of nothing": (replace(SOUND, staged=dict(SOUND.staged) | {(99, 1): 7}), [Kind.STRAY_STAGED]),
    "staged bytes of another version": (replace(SOUND, staged=dict(SOUND.staged) | {(4, 9): 7}), [Kind.STRAY_STAGED]),
    "content of nothing": (replace(SOUND, content=dict(SOUND.content) | {"z": Kept(True, 1)}), [Kind.STRAY_CONTENT]),
    "content of what was given up": (replace(SOUND, content=dict(SOUND.content) | {"old": Kept(True, 1)}), [Kind.STRAY_CONTENT]),
    "bytes without sums": (replace(SOUND, stray_bytes=["z"]), [Kind.STRAY_BYTES]),
    "bound to an unknown id": (change(SOUND, of(5, file_id="z"), without=("g",)), [Kind.UNKNOWN_ID, Kind.UNKNOWN_REMOTE]),
    "bound to what was given up": (change(SOUND, about("g", tombstoned=1)), [Kind.GIVEN_UP_ID, Kind.LEFT_REMOTE]),
    "shown by another": (change(SOUND, about("g", ino=3)), [Kind.WRONG_INODE, Kind.WRONG_INODE]),
    "shown by nothing": (change(SOUND, about("old", tombstoned=0)), [Kind.NOT_SHOWN]),
    "shown by what is gone": (change(SOUND, about("old", tombstoned=0, ino=99)), [Kind.WRONG_INODE]),
    "the only copy may go": (replace(SOUND, content={"a": Kept(False, 3)}), [Kind.NOT_PINNED]),
    "an upload of nothing": (change(SOUND, intent(3, IntentKind.UPLOAD, 99)), [Kind.STRAY_INTENT]),
    "a delete of nothing": (change(SOUND, intent(3, IntentKind.DELETE, None, "z")), [Kind.STRAY_INTENT]),
    "missing at the service": (listing("a"), [Kind.MISSING_REMOTE]),
    "another size at the service": (listing(a=Listed("n3", 4, 1)), [Kind.OTHER_REMOTE]),
    "another name at the service": (listing(a=Listed("x", 3, 1)), [Kind.OTHER_REMOTE]),
    "unknown at the service": (listing(z=Listed("x", 3, 1)), [Kind.UNKNOWN_REMOTE]),
    "given up, left there and unreadable": (replace(listing("old", unreadable=("old",)), rows=change(SOUND, without=(-2,)).rows), [Kind.LEFT_REMOTE]),
    "missing, and from the far future": (change(listing("a"), about("a", created_ns=NOW_NS * 1000)), [Kind.MISSING_REMOTE]),
    "unknown, and from the far future": (listing(z=Listed("x", 3, NOW_NS * 1000)), [Kind.UNKNOWN_REMOTE]),
    "given up and left there": (change(SOUND, without=(-2,)), [Kind.LEFT_REMOTE]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named(case: str) -> None:
    state, expected = CASES[case]
    assert sorted(kinds(state)) == sorted(expected)


@pytest.mark.parametrize("state", [
    replace(SOUND, listing=None),
    # Just uploaded, and not listed yet; just made elsewhere, and not polled yet; just deleted, and still listed.
    change(replace(SOUND, listing=Listing({}), now_ns=1)),
    listing(z=Listed("x", 3, NOW_NS)),
    # It had expired before it was first seen, and is listed for some weeks more.
    listing(z=Listed("x", 3, 1, NOW_NS)),
    # Its entry cannot be read, or is one of those without an id.
    listing("a", unreadable=("a", "stranger")),
    listing("a", has_all_ids=False),
    # Becoming content: the name has changed and the row has not.
    replace(change(SOUND, of(3, staged_gen=1)), staged=SOUND.staged),
    # Closed, and by its name of this machine alone.
    replace(change(SOUND, without=(-1,)), stays_here=lambda path: path in {"new", "d/again"}),
    # Waits to be deleted until what replaces it has arrived.
    change(SOUND, intent(1, IntentKind.UPLOAD, 4, replaces=("old",)), without=(-2,)),
], ids=["not asked", "just now", "new elsewhere", "expired", "unreadable", "without an id", "settling", "local", "replaced"])  # fmt: skip
def test_what_is_only_a_phase_is_no_finding(state: Snapshot) -> None:
    assert kinds(state) == []


names = st.builds(Name, st.integers(1, 8), st.sampled_from(["a", "b", "c"]), st.integers(1, 8))
inodes = st.builds(
    inode, st.integers(1, 8), folder=st.booleans(), nlink=st.integers(0, 4), size=st.integers(0, 3),
    state=st.sampled_from(list(ContentState)), staged_gen=st.none() | st.integers(0, 2),
    file_id=st.none() | st.sampled_from("xyz"),
)  # fmt: skip
remotes = st.builds(remote, st.sampled_from("xyz"), st.none() | st.integers(1, 8), tombstoned=st.integers(0, 1))
intents = st.builds(
    intent,
    st.integers(1, 9),
    st.sampled_from(list(IntentKind)),
    st.none() | st.integers(1, 8),
    st.none() | st.sampled_from("xyz"),
)


@given(st.lists(names | inodes | remotes | intents, max_size=20))
def test_whatever_the_rows_are_the_check_ends_and_says_the_same_again(parts: list[Any]) -> None:
    state = Snapshot(rows=rows(inode(1, folder=True), *parts), now_ns=NOW_NS)
    found = inconsistencies(state)
    assert found == inconsistencies(state)
    assert all(isinstance(finding, Finding) and finding.advice for finding in found)


@given(st.lists(names | inodes, max_size=20))
def test_whatever_has_links_is_reached_or_reported(parts: list[Any]) -> None:
    state = Snapshot(rows=rows(*parts, inode(1, folder=True)))
    folders = {ino for ino, one in state.rows.inodes.items() if one.is_dir}
    roots = {finding.ino for finding in inconsistencies(state) if finding.kind is Kind.UNREACHABLE}
    reached = {1} | roots
    while more := {name.ino for name in state.rows.names if name.parent in reached & folders} - reached:
        reached |= more
    assert {ino for ino, one in state.rows.inodes.items() if one.nlink} <= reached
