"""The journal: one row for each piece of work, and nothing of it lost when it is superseded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs.errors import IntentGone
from remotefs.store.database import Database
from remotefs.store.journal import Journal
from remotefs.store.records import Attempt, Intent, IntentKind

ATTEMPT = Attempt("a", 5, 1, 2, 3)


def seqs(intents: list[Intent]) -> list[int]:
    return [intent.seq for intent in intents]


def test_an_inode_has_one_upload_or_relabel(journal: Journal) -> None:
    first = journal.put(IntentKind.REUPLOAD, 7, due_ns=100)
    second = journal.put(IntentKind.UPLOAD, 7, due_ns=50)
    assert (second.seq, second.kind, second.due_ns) == (first.seq, IntentKind.UPLOAD, 50)
    assert journal.pending() == [second]


def test_w5_superseded_it_inherits_what_it_replaces(journal: Journal) -> None:
    journal.put(IntentKind.UPLOAD, 7, due_ns=0, replaces=["file_1", "file_2"])
    assert journal.put(IntentKind.UPLOAD, 7, due_ns=0, replaces=["file_2", "file_3"]).replaces == (
        "file_1",
        "file_2",
        "file_3",
    )


def test_w6_superseded_it_inherits_a_begun_attempt(journal: Journal) -> None:
    intent = journal.put(IntentKind.UPLOAD, 7, due_ns=0)
    journal.begin_attempt(intent.seq, ATTEMPT)
    journal.failed(intent.seq, "no answer", due_ns=10)
    again = journal.put(IntentKind.UPLOAD, 7, due_ns=0)
    assert (again.attempt, again.tries, again.reason) == (ATTEMPT, 0, None)
    assert journal.attempts() == [again]
    journal.end_attempt(again.seq)
    assert journal.attempts() == []


def test_a_refusal_stays_until_other_content_is_closed(journal: Journal) -> None:
    intent = journal.put(IntentKind.UPLOAD, 7, due_ns=0)
    journal.failed(intent.seq, "too large", due_ns=1, refused=413)
    journal.failed(intent.seq, "no answer", due_ns=2)
    assert [(i.ino, i.reason, i.refused) for i in journal.refused()] == [(7, "no answer", 413)]
    journal.put(IntentKind.UPLOAD, 7, due_ns=3)
    assert journal.refused() == []
    journal.failed(intent.seq, "too large", due_ns=4, refused=413)
    journal.forget_refusal(7)
    assert journal.refused() == []


def test_a_failure_is_counted_and_says_why(journal: Journal) -> None:
    intent = journal.put(IntentKind.UPLOAD, 7, due_ns=0)
    journal.failed(intent.seq, "no answer", due_ns=10)
    journal.failed(intent.seq, "refused", due_ns=20)
    failed = journal.find(intent.seq)
    assert failed is not None
    assert (failed.tries, failed.reason, failed.due_ns) == (2, "refused", 20)


def test_a_delete_is_asked_for_once(journal: Journal) -> None:
    journal.put_delete("file_1", due_ns=5, held_by=7)
    journal.put_delete("file_1", due_ns=99)
    (intent,) = journal.pending()
    assert (intent.file_id, intent.due_ns, intent.ino) == ("file_1", 5, 7)


def test_w5_a_delete_is_found_by_the_path_that_its_file_had(journal: Journal) -> None:
    assert not journal.has_deletes()
    journal.put(IntentKind.UPLOAD, 7, due_ns=1)
    assert not journal.has_deletes()
    journal.put_delete("file_a", due_ns=1, path="d/a")
    journal.put_delete("file_b", due_ns=1, path="d/a")
    journal.put_delete("file_c", due_ns=1)
    assert journal.has_deletes()
    assert [intent.file_id for intent in journal.deletes_at("d/a")] == ["file_a", "file_b"]
    assert journal.deletes_at("a") == []
    found = journal.delete_of("file_c")
    assert found is not None
    assert found.kind is IntentKind.DELETE
    assert journal.delete_of("file_d") is None


def test_a_delete_that_an_inode_holds_back_is_not_its_upload(journal: Journal) -> None:
    journal.put_delete("file_1", due_ns=0, held_by=7)
    assert journal.of_inode(7) is None
    upload = journal.put(IntentKind.UPLOAD, 7, due_ns=0)
    assert journal.of_inode(7) == upload
    assert journal.count() == 2


def test_due_are_the_longest_due_first_and_relabels_last(journal: Journal) -> None:
    reupload = journal.put(IntentKind.REUPLOAD, 1, due_ns=1)
    late = journal.put(IntentKind.UPLOAD, 2, due_ns=30)
    early = journal.put(IntentKind.UPLOAD, 3, due_ns=20)
    journal.put(IntentKind.UPLOAD, 4, due_ns=1000)
    journal.put_delete("file_1", due_ns=0)
    assert seqs(journal.due_uploads(100, 10)) == seqs([early, late, reupload])
    assert seqs(journal.due_uploads(100, 1)) == [early.seq]
    assert [intent.file_id for intent in journal.due_deletes(100, 10)] == ["file_1"]


def test_the_next_due_time_is_after_now(journal: Journal) -> None:
    assert journal.next_due_ns(0) is None
    journal.put(IntentKind.UPLOAD, 1, due_ns=10)
    journal.put(IntentKind.UPLOAD, 2, due_ns=20)
    assert (journal.next_due_ns(0), journal.next_due_ns(10), journal.next_due_ns(20)) == (10, 20, None)


@pytest.mark.parametrize("length", [0, 1, 2, 5])
def test_how_long_it_is(journal: Journal, length: int) -> None:
    for ino in range(length):
        journal.put(IntentKind.UPLOAD, ino, due_ns=0)
    assert journal.count() == length
    assert [journal.is_longer_than(n) for n in range(6)] == [length > n for n in range(6)]


def test_rescheduled_and_removed(journal: Journal) -> None:
    intent = journal.put(IntentKind.UPLOAD, 7, due_ns=0)
    journal.reschedule(intent.seq, due_ns=77)
    assert journal.pending()[0].due_ns == 77
    journal.remove(intent.seq)
    assert journal.find(intent.seq) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda journal, seq: journal.begin_attempt(seq, ATTEMPT),
        lambda journal, seq: journal.reschedule(seq, due_ns=0),
        lambda journal, seq: journal.failed(seq, "refused", due_ns=0),
        lambda journal, seq: journal.add_replaces(seq, ["file_1"]),
    ],
    ids=["begin_attempt", "reschedule", "failed", "add_replaces"],
)
def test_what_is_gone_cannot_be_changed_unnoticed(journal: Journal, change: Callable[[Journal, int], None]) -> None:
    gone, other = journal.put(IntentKind.UPLOAD, 7, due_ns=0), journal.put(IntentKind.UPLOAD, 8, due_ns=0)
    journal.remove(gone.seq)
    with pytest.raises(IntentGone):
        change(journal, gone.seq)
    journal.end_attempt(gone.seq)
    journal.remove(gone.seq)
    assert journal.pending() == [other]


def test_an_intent_goes_with_the_transaction_that_asked_for_it(journal: Journal, database: Database) -> None:
    with pytest.raises(RuntimeError), database.transaction():
        journal.put(IntentKind.UPLOAD, 7, due_ns=0)
        journal.put_delete("file_1", due_ns=0)
        raise RuntimeError
    assert journal.count() == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.sampled_from(["file_1", "file_2", "file_3", 'file_"quoted"']), max_size=3), max_size=4))
def test_no_id_that_may_go_is_lost_or_doubled(tmp_path_factory: pytest.TempPathFactory, added: list[list[str]]) -> None:
    database = Database(tmp_path_factory.mktemp("journal") / "state.db")
    try:
        journal = Journal(database)
        intent = journal.put(IntentKind.UPLOAD, 7, due_ns=0)
        for ids in added:
            journal.add_replaces(intent.seq, ids)
        found = journal.of_inode(7)
        assert found is not None
        assert sorted(found.replaces) == sorted({file_id for ids in added for file_id in ids})
    finally:
        database.close()
