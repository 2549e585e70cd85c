from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from remotefs.data.share.records import EntryRecord, FileRecord, KeyedRecord
from remotefs.data.share.stamps import Stamp
from tests.data.share.fold import SharedMap
from tests.data.share.strategies import WRITERS

# Few keys, stamps and contents, so that they meet.
_ENTRIES = st.sampled_from([
    EntryRecord("gone"),
    EntryRecord("dir", 0o700),
    EntryRecord("dir", 0o755),
    EntryRecord("symlink", target=b"a"),
])
_FILES = st.builds(
    FileRecord, st.sampled_from([0o600, 0o644]), st.just(0), st.just(0), st.just(0), st.just({}), st.just(1), st.none()
)
_KEYED = st.tuples(st.sampled_from(["e/a", "e/b"]), st.integers(1, 3), _ENTRIES) | st.tuples(
    st.just("f/file_1"), st.integers(1, 3), _FILES
)
_MERGES = st.lists(st.tuples(st.sampled_from(WRITERS), st.lists(_KEYED, max_size=4)), max_size=8)
Merge = tuple[str, list[KeyedRecord]]


def _folded(merges: list[Merge]) -> SharedMap:
    shared = SharedMap()
    for writer, records in merges:
        shared.merge(writer, records)
    return shared


def _state(shared: SharedMap) -> dict[str, object]:
    return {key: (shared.stamp(key), shared.winner(key)) for key in sorted(shared.keys())}


@given(_MERGES, st.randoms(use_true_random=False))
def test_order_repetition_and_division_make_no_difference(merges: list[Merge], random) -> None:
    expected = _state(_folded(merges))
    single = [(writer, [keyed]) for writer, records in merges for keyed in records] * 2
    random.shuffle(single)
    assert _state(_folded(single)) == expected


@given(_MERGES, st.integers(0, 8))
def test_snapshots_carry_all_that_holds(merges: list[Merge], at: int) -> None:
    early, late = _folded(merges[:at]), _folded(merges[at:])
    snapshots = [(writer, list(shared.of_writer(writer))) for shared in (late, early) for writer in WRITERS]
    assert _state(_folded(snapshots)) == _state(_folded(merges))


@given(_MERGES)
def test_the_latest_stamp_holds(merges: list[Merge]) -> None:
    shared = _folded(merges)
    for key in sorted(shared.keys()):
        assert shared.stamp(key) == max(
            Stamp(hlc, writer) for writer, records in merges for name, hlc, _ in records if name == key
        )


@given(_MERGES)
def test_merging_tells_the_keys_that_changed(merges: list[Merge]) -> None:
    shared = SharedMap()
    for writer, records in merges:
        before = _state(shared)
        changed = shared.merge(writer, records)
        after = _state(shared)
        assert changed == {key for key in after if before.get(key) != after[key]}
        assert shared.merge(writer, records) == set()


def test_a_tie_goes_to_the_higher_writer() -> None:
    merges: list[Merge] = [
        (writer, [("e/a", 5, EntryRecord("dir", mode))]) for writer, mode in zip(WRITERS, (0o1, 0o2, 0o3), strict=True)
    ]
    assert _state(_folded(merges)) == _state(_folded(merges[::-1]))
    assert _folded(merges).stamp("e/a") == Stamp(5, max(WRITERS))


def test_the_order_of_attributes_is_no_change() -> None:
    shared = SharedMap()
    shared.merge(WRITERS[0], [("e/a", 5, EntryRecord("dir", xattrs={b"user.a": b"", b"user.b": b""}))])
    assert shared.merge(WRITERS[0], [("e/a", 5, EntryRecord("dir", xattrs={b"user.b": b"", b"user.a": b""}))]) == set()


def test_old_tombstones_are_forgotten_and_nothing_else() -> None:
    shared = SharedMap()
    file = FileRecord(0o644, 0, 0, 0, {}, 1, None)
    shared.merge(
        WRITERS[0], [("e/old", 1, EntryRecord("gone")), ("e/dir", 1, EntryRecord("dir")), ("f/file_1", 1, file)]
    )
    shared.merge(WRITERS[1], [("e/young", 2, EntryRecord("gone"))])
    assert shared.forget_tombstones(2) == {"e/old"}
    assert set(shared.keys()) == {"e/dir", "e/young", "f/file_1"}
    assert shared.winner("e/old") is None
    assert shared.stamp("e/old") is None
    assert shared.forget_tombstones(2) == set()


def test_a_tombstone_that_goes_too_early_lets_an_older_record_come_back() -> None:
    """Why the time has to lie before the newest snapshot of every machine: a log may still have the older record."""
    shared, older = SharedMap(), [("e/a", 1, EntryRecord("dir"))]
    shared.merge(WRITERS[0], older)
    shared.merge(WRITERS[1], [("e/a", 2, EntryRecord("gone"))])
    assert shared.of_writer(WRITERS[0]) == ()
    shared.forget_tombstones(3)
    assert shared.merge(WRITERS[0], older) == {"e/a"}
