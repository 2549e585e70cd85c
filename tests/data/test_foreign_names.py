"""Names that others change: each is told once, as far as anybody could have seen it."""

from __future__ import annotations

import random
import stat

from remotefs.data.foreign_names import ForeignNames, NameChange, NameMove, PendingNames
from remotefs.store.records import ContentState, Inode

ROOT = 1


def inode(number: int) -> Inode:
    return Inode(
        ino=number, mode=stat.S_IFREG | 0o644, uid=0, gid=0, nlink=1, rdev=0, size=0, atime_ns=0, mtime_ns=0,
        ctime_ns=0, target=None, parent=None, implied=0, state=ContentState.CLEAN, content_gen=0, staged_gen=None,
        file_id=f"file_{number}", conflict_id=None, replaced_by=None, closed_ns=0,
    )  # fmt: skip


def taken(pending: PendingNames) -> list[NameChange | NameMove]:
    changes = []
    while (change := pending.take()) is not None:
        changes.append(change)
    return changes


def test_names_are_told_in_the_order_in_which_they_changed() -> None:
    pending = PendingNames(10)
    pending.came(ROOT, "a", inode(7))
    pending.went(ROOT, "b", inode(8))
    assert taken(pending) == [NameChange(ROOT, "a", None, inode(7)), NameChange(ROOT, "b", inode(8), None)]
    assert not pending


def test_a_name_that_comes_and_goes_before_its_turn_is_not_told() -> None:
    pending = PendingNames(10)
    pending.came(ROOT, "a", inode(7))
    pending.went(ROOT, "a", inode(7))
    assert taken(pending) == []


def test_a_name_that_comes_back_with_its_inode_never_went() -> None:
    pending = PendingNames(10)
    pending.went(ROOT, "a", inode(7))
    pending.came(ROOT, "a", inode(7))
    assert taken(pending) == []


def test_a_name_that_stands_for_another_inode_is_told_as_one_change() -> None:
    pending = PendingNames(10)
    pending.went(ROOT, "a", inode(7))
    pending.came(ROOT, "a", inode(8))
    pending.went(ROOT, "a", inode(8))
    pending.came(ROOT, "a", inode(9))
    assert taken(pending) == [NameChange(ROOT, "a", inode(7), inode(9))]


def test_n3_a_conflict_copy_is_told_as_a_move_and_then_the_file_that_has_its_name() -> None:
    pending = PendingNames(10)
    pending.went(ROOT, "a", inode(7))
    pending.came(ROOT, "a [file_7]", inode(7))
    pending.came(ROOT, "a", inode(8))
    assert taken(pending) == [
        NameMove(ROOT, "a", ROOT, "a [file_7]", inode(7)),
        NameChange(ROOT, "a", None, inode(8), replaced=inode(7)),
    ]


def test_a_move_whose_new_name_went_too_is_a_removal() -> None:
    pending = PendingNames(10)
    pending.went(ROOT, "a", inode(7))
    pending.came(ROOT, "b", inode(7))
    pending.went(ROOT, "b", inode(7))
    assert taken(pending) == [NameChange(ROOT, "a", inode(7), None)]


def test_what_finds_no_room_is_counted() -> None:
    pending = PendingNames(2)
    for number in range(5):
        pending.came(ROOT, f"{number}", inode(number))
    # A name that waits takes no more room when it changes again.
    pending.went(ROOT, "0", inode(0))
    pending.came(ROOT, "0", inode(9))
    assert (len(pending), pending.dropped) == (2, 3)


def test_nothing_is_told_before_the_first_listing_is_over() -> None:
    listed: list[bool] = []
    names, pending = ForeignNames(lambda: bool(listed)), PendingNames(10)
    names.listen(pending)
    names.came(ROOT, "a", inode(7))
    names.went(ROOT, "b", inode(8))
    assert not pending
    listed.append(True)
    names.came(ROOT, "a", inode(7))
    assert (ROOT, "a") in pending


def test_any_order_of_changes_leads_from_what_was_seen_to_what_is() -> None:
    """Whoever applies what is told to the names that he saw has the names that there are."""
    for seed in range(200):
        choose = random.Random(seed)
        pending = PendingNames(1000)
        tree: dict[str, int] = {"a": 1, "b": 2, "c": 3}
        seen = dict(tree)
        for number in range(10, 40):
            name, other = choose.choice("abcdef"), choose.choice("abcdef")
            if name not in tree:
                tree[name] = number
                pending.came(ROOT, name, inode(number))
            elif choose.random() < 0.5 and other not in tree:
                tree[other] = tree.pop(name)
                pending.went(ROOT, name, inode(tree[other]))
                pending.came(ROOT, other, inode(tree[other]))
            else:
                pending.went(ROOT, name, inode(tree.pop(name)))
            if choose.random() < 0.2:
                _apply(seen, taken(pending))
                assert seen == tree, seed
        _apply(seen, taken(pending))
        assert seen == tree, seed


def _apply(seen: dict[str, int], changes: list[NameChange | NameMove]) -> None:
    for change in changes:
        if isinstance(change, NameMove):
            assert seen.pop(change.name) == change.inode.ino
            assert change.new_name not in seen
            seen[change.new_name] = change.inode.ino
            continue
        assert seen.pop(change.name, None) == (change.was.ino if change.was else None)
        if change.now is not None:
            seen[change.name] = change.now.ino
