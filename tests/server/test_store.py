"""What a store keeps, in which order, and what it sweeps."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.server import ApiError, ServerError, Store
from remotefs.server.multipart import Event, FormEnd, FormReader, PartBegin, PartData
from remotefs.server.names import FORBIDDEN, accepted_name
from remotefs.server.queries import ListQuery

DAY_S = 24 * 3600


def names_in(root: Path) -> set[str]:
    return {each.name for folder in ("files", "incoming") for each in (root / folder).iterdir()}


def test_a_file_that_was_not_committed_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with store.begin() as arrival:
        arrival.write([b"half"])
        assert names_in(tmp_path / "store") == {arrival.id}
    assert names_in(tmp_path / "store") == set()
    assert store.list(ListQuery()).records == []


def test_the_sweep_frees_leftovers_and_nothing_else(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "store"
    kept = store.add_generated("kept.txt", b"kept")
    (root / "incoming" / "file_half").write_bytes(b"ha")
    (root / "files" / "file_without_row").write_bytes(b"x")
    with store.begin() as arrival:
        assert store.sweep() == 2
        assert names_in(root) == {kept.id, arrival.id}
        arrival.write([b"whole"])
        late = store.commit(arrival, "late.txt", "text/plain", downloadable=True)
    assert names_in(root) == {kept.id, late.id}
    assert store.sweep() == 0


def test_the_sweep_of_another_process_spares_a_writer(store: Store, tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store")) as other, store.begin() as arrival:
        assert other.sweep() == 0
        assert names_in(tmp_path / "store") == {arrival.id}


def test_thirty_days_after_its_expiry_a_file_is_gone(tmp_path: Path) -> None:
    now = [1_700_000_000.0]
    with closing(Store(tmp_path, clock=lambda: now[0])) as store:
        expiring = store.add("a", b"x", downloadable=True, expires_in_s=3600)
        now[0] += 3600 + 30 * DAY_S
        store.sweep()
        assert store.get(expiring.id)
        now[0] += 1
        store.sweep()
        with pytest.raises(ApiError, match="not found"):
            store.get(expiring.id)
    assert names_in(tmp_path) == set()


def test_times_grow_though_the_clock_is_set_back(tmp_path: Path) -> None:
    now = [1_700_000_000.0]
    with closing(Store(tmp_path, clock=lambda: now[0])) as store:
        first = store.add_generated("a", b"")
        now[0] -= 3600
        second = store.add_generated("b", b"")
        assert [each.id for each in store.list(ListQuery()).records] == [second.id, first.id]


def test_two_stores_of_one_folder_see_each_other(store: Store, tmp_path: Path) -> None:
    with closing(Store(tmp_path / "store")) as other:
        record = other.add_generated("a.txt", b"abc")
        assert other.organization_id == store.organization_id
    assert store.get(record.id) == record
    store.delete(record.id)
    assert store.used_bytes() == 0


def test_a_store_may_be_closed_while_threads_add_to_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    added: list[str] = []

    def add_until_refused() -> None:
        with suppress(sqlite3.ProgrammingError):
            while True:
                added.append(store.add_generated("a.txt", b"a").id)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(add_until_refused)
        while len(added) < 8:
            pass
        store.close()
    with closing(Store(tmp_path / "store")) as again:
        assert {record.id for record in again.list(ListQuery(limit=1000)).records} == set(added)


def test_content_comes_from_bytes_paths_and_files(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_bytes(b"abc" * 1_000_000)
    with source.open("rb") as file:
        sizes = [store.add_generated("x.txt", content).size_bytes for content in (b"abc", source, file)]
    assert sizes == [3, 3_000_000, 3_000_000]


def modes(root: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in root.rglob("*") if not each.is_dir()}


def test_nobody_else_can_read_it(store: Store, tmp_path: Path) -> None:
    added = store.add_generated("a.txt", b"abc")
    expected = {"files.db", "files.db-wal", "files.db-shm", added.id}
    assert modes(tmp_path / "store") == dict.fromkeys(expected, 0o600)
    assert all(stat.S_IMODE((tmp_path / "store" / each).stat().st_mode) == 0o700 for each in ("files", "incoming"))


def test_a_store_that_others_could_read_is_closed_to_them(store: Store, tmp_path: Path) -> None:
    added = store.add_generated("a.txt", b"abc")
    for name in ("files.db", "files.db-wal", "files.db-shm"):
        (tmp_path / "store" / name).chmod(0o644)
    with closing(Store(tmp_path / "store")) as again:
        assert set(modes(tmp_path / "store").values()) == {0o600}
        assert again.get(added.id) == added


def test_a_database_of_the_future_is_left_alone(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "store" / "files.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ServerError, match="version 99"):
        Store(tmp_path / "store")


@given(st.text(max_size=300))
def test_a_name_is_kept_as_it_is_or_refused(sent: str) -> None:
    last = sent.rpartition("/")[2]
    if len(last) > 255 or FORBIDDEN.intersection(last):
        with pytest.raises(ApiError) as caught:
            accepted_name(sent, "text/plain")
        assert caught.value.status == 400
    else:
        assert accepted_name(sent, "text/plain") == (last or "unnamed.txt")


def events_of(body: bytes, cuts: Sequence[int]) -> list[Event]:
    """The events of `body` fed in pieces, the data of a part joined."""
    reader = FormReader("multipart/form-data; boundary=b")
    joined: list[Event] = []
    bounds = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(bounds):
        for event in reader.feed(body[start:end]):
            last = joined[-1] if joined else None
            if isinstance(event, PartData) and isinstance(last, PartData):
                joined[-1] = PartData(memoryview(bytes(last.data) + bytes(event.data)))
            else:
                joined.append(event)
    return joined


@given(
    content=st
    .lists(st.sampled_from([b"\r", b"\n", b"-", b"b", b"\r\n--", b"x"]), max_size=12)
    .map(b"".join)
    .filter(lambda content: b"\r\n--b" not in b"\r\n" + content),
    cuts=st.lists(st.integers(0, 1000), max_size=12),
)
def test_a_form_reads_the_same_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    events = events_of(head + content + b"\r\n--b--\r\n", cuts)
    data = [PartData(memoryview(content))] if content else []
    assert events == [PartBegin("file", "a", None), *data, FormEnd()]
