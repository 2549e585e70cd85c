"""What is known of the service's files."""

from __future__ import annotations

import time
from typing import Any

from remotefs.store.records import Origin, Remote
from remotefs.store.remotes import Remotes


def remote(file_id: str, **fields: Any) -> Remote:
    plain: dict[str, Any] = {"filename": "a", "size": 5, "mime_type": "text/plain", "created_ns": 1}
    plain |= {"expires_ns": None, "downloadable": 0, "origin": Origin.FOREIGN}
    return Remote(file_id, **(plain | fields))


def test_what_is_added_is_found(remotes: Remotes) -> None:
    added = remote("file_1", digest="abc", asked="b", ino=7)
    remotes.add(added)
    found = remotes.find("file_1")
    assert found is not None
    assert found._replace(known_ns=added.known_ns) == added
    assert remotes.find("file_2") is None
    assert (added.asked_name, remote("file_2").asked_name) == ("b", "a")


def test_of_one_name_the_newest_comes_first_and_ids_break_ties(remotes: Remotes) -> None:
    """N3."""
    for file_id, created_ns in (("file_1", 5), ("file_3", 9), ("file_2", 9)):
        remotes.add(remote(file_id, created_ns=created_ns))
    remotes.add(remote("file_other", filename="b"))
    assert [found.file_id for found in remotes.named("a")] == ["file_3", "file_2", "file_1"]
    assert remotes.named("a")[0].age_key > remotes.named("a")[1].age_key


def test_doomed_it_is_masked_and_stays_known(remotes: Remotes) -> None:
    remotes.add(remote("file_1", ino=7))
    remotes.add(remote("file_2", ino=8))
    remotes.tombstone("file_1")
    found = remotes.find("file_1")
    assert found is not None
    assert (found.ino, found.tombstoned) == (None, 1)
    assert [tombstone.file_id for tombstone in remotes.tombstoned()] == ["file_1"]
    assert remotes.known_count() == 1
    assert [(row[0], row[2]) for row in remotes.page(after="", limit=10)] == [("file_1", 1), ("file_2", 0)]
    remotes.restore("file_1")
    assert remotes.known_count() == 2


def test_s4_missing_is_counted_and_one_listing_takes_it_back(remotes: Remotes) -> None:
    remotes.add(remote("file_1"))
    remotes.miss(["file_1"], time.time_ns())
    assert remotes.missed(2) == []
    remotes.miss(["file_1"], time.time_ns())
    assert [found.file_id for found in remotes.missed(2)] == ["file_1"]
    remotes.renew("file_1", expires_ns=None, downloadable=False)
    assert remotes.missed(1) == []


def test_a_listing_may_renew_it(remotes: Remotes) -> None:
    remotes.add(remote("file_1", missed=1))
    remotes.renew("file_1", expires_ns=99, downloadable=True)
    found = remotes.find("file_1")
    assert found is not None
    assert (found.expires_ns, bool(found.downloadable), found.missed) == (99, True, 0)


def test_expiry(remotes: Remotes) -> None:
    remotes.add(remote("file_1", expires_ns=50, ino=1))
    remotes.add(remote("file_2", expires_ns=90, ino=2))
    remotes.add(remote("file_hidden", expires_ns=10))
    remotes.add(remote("file_3", expires_ns=50, ino=3))

    def expired(now_ns: int, after: tuple[int, str] = (0, ""), limit: int = 10) -> list[str]:
        return [found.file_id for found in remotes.expired(now_ns, after=after, limit=limit)]

    assert expired(9) == []
    assert expired(50) == ["file_hidden", "file_1", "file_3"]
    assert expired(50, limit=1) == ["file_hidden"]
    assert expired(99, after=(50, "file_1")) == ["file_3", "file_2"]


def test_s1_what_became_known_only_now_is_not_missed_yet(remotes: Remotes) -> None:
    before = time.time_ns()
    remotes.add(remote("file_1"))
    remotes.miss(["file_1"], before - 1)
    assert remotes.missed(1) == []
    remotes.miss(["file_1"], time.time_ns())
    assert [found.file_id for found in remotes.missed(1)] == ["file_1"]


def test_pages_of_rows_follow_each_other(remotes: Remotes) -> None:
    for number in range(5):
        remotes.add(remote(f"file_{number}", missed=1))
    assert [row[0] for row in remotes.page(after="file_1", limit=2)] == ["file_2", "file_3"]
    assert [found.file_id for found in remotes.missed(1, after=(1, "file_2"), limit=9)] == ["file_3", "file_4"]
    assert [found.file_id for found in remotes.unshown(after="file_3", limit=9)] == ["file_4"]


def test_unshown_is_what_nobody_gave_up_and_no_path_shows(remotes: Remotes) -> None:
    for file_id, fields in {
        "file_shown": {"ino": 7},
        "file_1": {},
        "file_doomed": {"tombstoned": 1},
        "file_expired": {"expires_ns": 50},
        "file_later": {"expires_ns": 51},
    }.items():
        remotes.add(remote(file_id, **fields))
    assert {found.file_id for found in remotes.unshown(after="", limit=10)} == {"file_1", "file_expired", "file_later"}


def test_forgotten_it_is_gone(remotes: Remotes) -> None:
    remotes.add(remote("file_1", created_ns=77))
    assert remotes.newest_ns(100) == 77
    remotes.forget("file_1")
    assert (remotes.find("file_1"), remotes.newest_ns(100)) == (None, 0)
