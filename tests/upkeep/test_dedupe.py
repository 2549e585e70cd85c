"""W6, A5: copies that have piled up under one name; only equal ones go by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from remotefs.control.messages.dedupe import DedupeParams, DedupeResult
from remotefs.errors import InvalidArgument, NotFound
from tests.between import Between
from tests.commands import commands, quietly
from tests.faults import FaultyServer
from tests.parts import Host
from tests.upkeep.support import add, machine, view, walks

Server, Clock = FaultyServer, trio.abc.Clock


async def _dedupe(host: Host, **params: object) -> DedupeResult:
    return await commands(host).dedupe.dedupe(DedupeParams(**params), quietly)  # type: ignore[arg-type]  # as the caller has it


def _verdicts(result: DedupeResult) -> dict[str, str]:
    return {copy.file_id: copy.verdict for copy in result.copies}


async def _read_all(host: Host) -> None:
    """Walk, and have the bytes of all files here."""
    await host.walk()
    await view(host)


async def test_equal_copies_go_and_the_newest_stays(tmp_path: Path, server: Server, clock: Clock) -> None:
    old, mid, new = (add(server, "d/f.txt", b"same") for _ in range(3))
    add(server, "d/other", b"same")
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        result = await _dedupe(host)
        assert (_verdicts(result), result.removed) == ({new: "kept", mid: "equal", old: "equal"}, 2)
        await host.settled()
        assert host.remote_names() == ["d／f.txt", "d／other"]
        await walks(host, 2)
        assert await view(host) == {"d/f.txt": b"same", "d/other": b"same"}
        assert host.id("d/f.txt") == new


async def test_a_copy_stays_when_the_one_to_keep_goes_meanwhile(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Whenever the user removes or changes it: while this pair is compared, or another."""
    nth, steps = 0, 1
    while nth < steps:
        old, _, _ = add(server, "f", b"same"), add(server, "f", b"same"), add(server, "g", b"same")
        add(server, "g", b"same")
        async with machine(tmp_path, server, state=f"state{nth}") as host:
            await _read_all(host)
            with Between("_dedupe", nth, lambda host=host: host.unlink("f")) as between:  # type: ignore[misc]  # mypy cannot infer it
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_dedupe, host)
            steps = between.seen
            await host.settled()
            await walks(host, 2)
            assert old in host.remote_ids()
            for name in host.ls():
                host.unlink(name)
            await host.settled()
        nth += 1
    assert nth > 3


async def test_with_keep_oldest_the_oldest_stays(tmp_path: Path, server: Server, clock: Clock) -> None:
    old, new = (add(server, "f", b"same") for _ in range(2))
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        result = await _dedupe(host, keep_oldest=True)
        assert _verdicts(result) == {old: "kept", new: "equal"}
        await host.settled()
        assert host.remote_ids() == {old}
        await host.walk()
        assert (host.ls(), host.id("f")) == (["f"], old)


async def test_a_dry_run_deletes_nothing(tmp_path: Path, server: Server, clock: Clock) -> None:
    old, new = (add(server, "f", b"same") for _ in range(2))
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        result = await _dedupe(host, dry_run=True)
        assert (_verdicts(result), result.removed) == ({new: "kept", old: "equal"}, 0)
        assert host.pending() == []
        assert host.remote_ids() == {old, new}


async def test_different_copies_are_listed_only(tmp_path: Path, server: Server, clock: Clock) -> None:
    longer, other, new = add(server, "f", b"longer"), add(server, "f", b"else"), add(server, "f", b"same")
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        result = await _dedupe(host)
        assert (_verdicts(result), result.removed) == ({new: "kept", longer: "differs", other: "differs"}, 0)
        assert host.pending() == []


async def test_copies_whose_bytes_are_not_here_are_listed_only(tmp_path: Path, server: Server, clock: Clock) -> None:
    old, new = add(server, "f", b"same", downloadable=False), add(server, "f", b"same")
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        result = await _dedupe(host)
        assert (_verdicts(result), result.removed) == ({new: "kept", old: "unknown"}, 0)
        assert host.pending() == []


async def test_an_id_given_by_hand_goes_whatever_it_holds_and_no_other(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    unreadable, equal = add(server, "f", b"xxxx", downloadable=False), add(server, "f", b"same")
    new = add(server, "f", b"same")
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        assert (await _dedupe(host, file_ids=(unreadable,))).removed == 1
        await host.settled()
        assert host.remote_ids() == {equal, new}


async def test_an_id_that_is_no_copy_is_refused_and_nothing_goes(tmp_path: Path, server: Server, clock: Clock) -> None:
    copies = {add(server, "f", b"same") for _ in range(2)}
    single = add(server, "single")
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        for wrong in (single, "file_nowhere"):
            with pytest.raises(InvalidArgument, match=wrong):
                await _dedupe(host, file_ids=(wrong, *copies))
        assert host.pending() == []


async def test_only_what_lies_below_the_path_is_judged(tmp_path: Path, server: Server, clock: Clock) -> None:
    for _ in range(2):
        add(server, "in/f", b"same")
        add(server, "out/f", b"same")
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        assert (await _dedupe(host, path="in")).removed == 1
        await host.settled()
        assert host.remote_names() == ["in／f", "out／f", "out／f"]
        with pytest.raises(NotFound):
            await _dedupe(host, path="nowhere")


async def test_a_file_under_a_name_that_the_user_gave_it_is_no_copy(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """An alias, a further link: at the service they share a name, here they do not."""
    for _ in range(3):
        add(server, "f", b"same")
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        first, second = (name for name in host.ls() if name != "f")
        host.rename(first, "mine")
        host.link(second, "mine too")
        assert (await _dedupe(host)).removed == 0
        assert sorted(host.ls()) == sorted(["f", "mine", "mine too", second])


async def test_a_copy_that_is_being_edited_stays(tmp_path: Path, server: Server, clock: Clock) -> None:
    for _ in range(2):
        add(server, "f", b"same")
    async with machine(tmp_path, server, working=False, durability="local") as host:
        await _read_all(host)
        [twin] = [name for name in host.ls() if name != "f"]
        await host.write(twin, b"edit")
        assert (await _dedupe(host)).removed == 0
        assert await host.read(twin) == b"edit"


async def test_empty_copies_are_equal(tmp_path: Path, server: Server, clock: Clock) -> None:
    for _ in range(2):
        add(server, "f", b"")
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        assert (await _dedupe(host)).removed == 1


async def test_large_copies_are_compared_to_their_end(tmp_path: Path, server: Server, clock: Clock) -> None:
    data = bytes(3 << 20)
    old, other, new = add(server, "f", data), add(server, "f", data[:-1] + b"x"), add(server, "f", data)
    async with machine(tmp_path, server) as host:
        await _read_all(host)
        assert _verdicts(await _dedupe(host, dry_run=True)) == {new: "kept", old: "equal", other: "differs"}


async def test_w6_a_possible_duplicate_is_reported_and_never_removed_by_itself(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """An upload that the service committed long after it was given up; nobody can compare it, for it is not given back."""
    async with machine(tmp_path, server) as host:
        await host.write("f", b"mine")
        await host.settled()
        ours, late = host.id("f"), add(server, "f", b"mine", downloadable=False)
        await walks(host, 4)
        result = await _dedupe(host)
        assert (_verdicts(result), result.removed) == ({late: "kept", ours: "unknown"}, 0)
        await host.settled()
        assert host.remote_ids() == {ours, late}
        assert await host.read(f"f [{ours}]") == b"mine"
