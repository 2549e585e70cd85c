"""Real mounts on SeaweedFS in trouble: mounts and the store are killed, stopped, emptied, exchanged and refused (X2, X5)."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from remotefs.control.messages.status import SharedUse
from remotefs.errors import ObjectStoreUnusable
from remotefs.objects.marker import MARKER_KEY, Marker, create_marker, read_marker
from remotefs.objects.store import ObjectStore
from tests.faults import FaultyServer, faulty_server
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, eventually, is_mounted, remotefs, shell, stored
from tests.objects.faulty_proxy import KINDS, faulty_proxy
from tests.objects.servers import BUCKET, READER, WRITER, Key, SeaweedFS, environment, running

REPOSITORY = Path(__file__).parents[2]
LOOKS = "find . -mindepth 1 -printf '%P %y %m %s %T@\n' | sed -E '/ d /s/ [0-9]+ [0-9.]+$//' | sort"
# What a call may take that waits for nothing, on a busy machine.
_AT_ONCE_S = 2.0
# The wait of a read, and of a close, for a store that has not been found out of reach yet.
_PATIENCE_S = 25.0
_DOWN_S = 40.0


class Machines:
    """Machines of one account, and the store that they share."""

    def __init__(self, make_mount: MakeMount, store_url: str, variables: dict[str, str]) -> None:
        self.url = store_url
        self.variables = variables
        self._make_mount = make_mount

    def machine(self, *, url: str | None = None, key: Key = WRITER) -> Mounted:
        """Mount another machine."""
        names = {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret}
        variables = self.variables | names if self.variables else {}
        return self._make_mount(settings={"REMOTEFS_SHARED_STORE": url or self.url, **variables})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running_server:
        yield running_server


@pytest.fixture
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A store that may be killed."""
    store = SeaweedFS(tmp_path_factory.mktemp("weed"))
    with running(store):
        yield store


@pytest.fixture
def machines(make_mount: MakeMount, weed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Machines with a store in SeaweedFS."""
    variables = dict(environment(weed.port))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Machines(make_mount, f"s3://{BUCKET}/trouble", variables)


@pytest.fixture
def on_a_folder(make_mount: MakeMount, tmp_path: Path) -> Machines:
    """Machines with a store in a folder."""
    (tmp_path / "nas").mkdir()
    return Machines(make_mount, f"file://{tmp_path / 'nas'}", {})


def content(number: int) -> bytes:
    return b"%d\n" % number * (1 + number % 50 * 2000)


def looks(mount: Mounted) -> str:
    return shell(LOOKS, mount.path)


def alike(one: Mounted, two: Mounted) -> None:
    """Both show the same tree, and the same bytes."""
    eventually(lambda: looks(one) == looks(two))
    shell(f"diff -r {one.path} {two.path}", one.path)


def shared(mount: Mounted) -> SharedUse:
    """Return what `status` says of the store."""
    use = mount.status().shared
    assert use is not None
    return use


def trouble(mount: Mounted) -> str:
    return shared(mount).trouble or ""


def waiting(mount: Mounted) -> int:
    return shared(mount).waiting_files


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def keys_in(url: str) -> list[str]:
    """Return the keys in a store."""

    async def keys() -> list[str]:
        return [entry.key async for page in ObjectStore.open(url).list("") for entry in page]

    return trio.run(keys)


# -- a mount is killed


def work_until_it_dies(mount: Mounted) -> dict[str, bytes]:
    """Save files and change modes until the mount dies; return what close acknowledged, without what was under way."""
    done: dict[str, bytes] = {}
    for number in range(200):
        name = f"d{number % 3}/f{number % 5}"
        before = done.pop(name, None)
        try:
            (mount.path / name).parent.mkdir(exist_ok=True)
            (mount.path / name).write_bytes(content(number))
            done[name] = content(number)
            (mount.path / name).chmod(0o600 + number % 8)
        except OSError:
            assert before is None or name not in done or done[name] == content(number)
            return done
    raise AssertionError("the mount lives on")


def killed_at(mount: Mounted, step: str, nth: int) -> dict[str, bytes]:
    """Run a mount in a process that dies at a step, and use it until it has."""
    mount.end()
    command = ["mount", mount.path, "--foreground", "--state-dir", mount.state, *mount.arguments]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash.mounted", step, str(nth), *map(str, command)],
        env=mount.env, stderr=subprocess.DEVNULL, cwd=REPOSITORY,
    ) as process:  # fmt: skip
        eventually(lambda: is_mounted(mount.path))
        try:
            done = work_until_it_dies(mount)
            process.wait(40)
        finally:
            process.kill()
    return done


def loses_nothing(machines: Machines, step: str, nth: int) -> None:
    one = machines.machine()
    (one.path / "before").write_bytes(b"before")
    done = killed_at(one, step, nth)
    one.started()
    one.flush()
    two = machines.machine()
    alike(one, two)
    for name, data in ({"before": b"before"} | done).items():
        assert (two.path / name).read_bytes() == data
    assert waiting(one) == 0
    for mount in (one, two):
        checked = remotefs("check", mount.path)
        assert checked.returncode == 0, checked.stdout


KILLS = [
    ("upload: it is bound", 5), ("share: it begins", 4), ("share: the store has it", 4),
    ("share: its row says that it is in the store", 3), ("shared log: the store has the segment", 2),
]  # fmt: skip


@pytest.mark.store
@pytest.mark.parametrize(("step", "nth"), KILLS)
def test_a_mount_that_is_killed_loses_nothing(machines: Machines, step: str, nth: int) -> None:
    loses_nothing(machines, step, nth)


@pytest.mark.long
@pytest.mark.parametrize(("step", "nth"), KILLS)
def test_a_mount_that_is_killed_loses_nothing_of_a_folder(on_a_folder: Machines, step: str, nth: int) -> None:
    loses_nothing(on_a_folder, step, nth)


# -- the store is killed


@pytest.mark.store
@pytest.mark.timeout(400)
def test_what_close_acknowledged_outlives_the_store_and_the_machine(machines: Machines, weed: SeaweedFS) -> None:
    one = machines.machine()
    files = {f"f{number:03}": content(number) for number in range(200)}
    acknowledged: list[str] = []
    is_killed, enough = threading.Event(), threading.Event()

    def save(name: str) -> None:
        (one.path / name).write_bytes(files[name])
        if not is_killed.is_set():
            acknowledged.append(name)
            if len(acknowledged) >= 80:
                enough.set()

    with ThreadPoolExecutor(4) as writers:
        saves = [writers.submit(save, name) for name in files]
        assert enough.wait(100)
        is_killed.set()
        weed.kill()
        for done in saves:
            done.result()
    one.kill()
    weed.start()
    two = machines.machine()
    for name in acknowledged:
        assert (two.path / name).read_bytes() == files[name]
    one.started()
    one.flush()
    assert waiting(one) == 0
    three = machines.machine()
    assert {name: (three.path / name).read_bytes() for name in os.listdir(three.path)} == files


# -- the store does not answer


def stop(weed: SeaweedFS) -> None:
    weed.signal(signal.SIGSTOP)


def go_on(weed: SeaweedFS) -> None:
    weed.signal(signal.SIGCONT)


Act = Callable[[SeaweedFS], None]


@pytest.mark.store
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("away", "back"), [(stop, go_on), (SeaweedFS.kill, SeaweedFS.start)], ids=["stopped", "refused"]
)
def test_work_goes_on_without_the_store(
    machines: Machines, weed: SeaweedFS, server: FaultyServer, away: Act, back: Act
) -> None:
    one, two = machines.machine(), machines.machine()
    for name in ("warm", "cold", "colder"):
        (one.path / name).write_bytes(name.encode() * 100)
    eventually(lambda: len(os.listdir(two.path)) == 3)
    assert (two.path / "warm").read_bytes() == b"warm" * 100
    away(weed)
    try:
        ends = time.monotonic() + _DOWN_S
        with at_most(_PATIENCE_S), pytest.raises(OSError) as failed:
            (two.path / "cold").read_bytes()
        assert failed.value.errno in {errno.EIO, errno.ETIMEDOUT}
        number = 0
        is_known = False
        while time.monotonic() < ends or not is_known:
            is_known = bool(trouble(one)) and bool(trouble(two))
            with at_most(_AT_ONCE_S if is_known else _PATIENCE_S):
                (one.path / f"new {number}").write_bytes(b"new %d" % number)
            assert (one.path / f"new {number}").read_bytes() == b"new %d" % number
            number += 1
            with at_most(_AT_ONCE_S):
                shell("ls -lR > /dev/null; cat warm > /dev/null", two.path)
            if is_known:
                with at_most(_AT_ONCE_S), pytest.raises(OSError) as failed:
                    (two.path / "colder").read_bytes()
                assert failed.value.errno in {errno.EIO, errno.ETIMEDOUT}
            assert time.monotonic() < ends + 60
            time.sleep(0.5)  # the store is away for real seconds
        eventually(lambda: len(stored(server)) == 3 + number)
        assert waiting(one) == number
    finally:
        back(weed)
    eventually(lambda: not trouble(one) and not trouble(two), timeout=90)
    one.flush()
    eventually(lambda: len(os.listdir(two.path)) == 3 + number)
    alike(one, two)


# -- a bad way to the store


@pytest.mark.store
@pytest.mark.timeout(400)
def test_a_bad_way_to_the_store_brings_no_wrong_bytes_and_loses_nothing(make_mount: MakeMount, weed: SeaweedFS) -> None:
    with faulty_proxy(weed.port) as proxy:
        machines = Machines(make_mount, f"s3://{BUCKET}/bad-way", dict(environment(proxy.server_port)))
        one, two = machines.machine(), machines.machine()
        proxy.often, proxy.lag_s = 0.2, 10.0
        files = {f"f{number}": content(number) for number in range(40)} | {"large": os.urandom(9 << 20)}
        right = wrong = 0
        for name, data in files.items():
            (one.path / name).write_bytes(data)
            (one.path / name).chmod(0o640)
            for seen in os.listdir(two.path):
                try:
                    assert (two.path / seen).read_bytes() == files[seen]
                    right += 1
                except OSError:
                    wrong += 1
        print(f"{right} files read, {wrong} failed; {dict(proxy.done)}")
        assert right > len(files)
        assert all(proxy.done[kind] for kind in KINDS)
        proxy.often = 0.0
        eventually(lambda: not trouble(one) and not trouble(two), timeout=90)
        one.flush()
        alike(one, two)
        three = machines.machine()
        alike(one, three)
        assert {name: (three.path / name).read_bytes() for name in files} == files
        for mount in (one, two):
            checked = remotefs("check", mount.path)
            assert checked.returncode == 0, checked.stdout


# -- another store, or none


def says(mount: Mounted, text: str, timeout: float = 30) -> None:
    eventually(lambda: text in trouble(mount), timeout=timeout)


@pytest.mark.store
@pytest.mark.timeout(300)
def test_a_store_that_is_emptied_is_left_alone(machines: Machines, server: FaultyServer) -> None:
    one, two = machines.machine(), machines.machine()
    (one.path / "a").write_bytes(b"a" * 100)
    (one.path / "folder").mkdir()
    eventually(lambda: sorted(os.listdir(two.path)) == ["a", "folder"])
    one.flush()

    async def empty() -> bytes:
        store = ObjectStore.open(machines.url)
        marker = await store.get(MARKER_KEY)
        await store.delete([entry.key async for page in store.list("") for entry in page])
        return marker

    marker = trio.run(empty)
    time.sleep(11)  # the marker was seen a moment ago
    (one.path / "b").write_bytes(b"b" * 100)
    says(one, "does not show its marker")
    with pytest.raises(OSError):
        (two.path / "a").read_bytes()
    says(two, "does not show its marker")
    assert keys_in(machines.url) == []
    assert (one.path / "a").read_bytes() == b"a" * 100
    assert sorted(os.listdir(two.path)) == ["a", "b", "folder"]
    assert sorted(stored(server)) == ["a", "b"]

    async def begin(data: bytes) -> None:
        await ObjectStore.open(machines.url).create(MARKER_KEY, data)

    trio.run(begin, marker)
    eventually(lambda: not trouble(one) and not trouble(two), timeout=90)
    one.flush()
    assert (two.path / "b").read_bytes() == b"b" * 100


@pytest.mark.store
@pytest.mark.timeout(300)
def test_another_store_is_left_alone(machines: Machines, server: FaultyServer) -> None:
    """By its marker, by its prefix, and by a bucket that is not there."""
    one = machines.machine()
    (one.path / "a").write_bytes(b"a" * 100)

    async def make(url: str) -> Marker:
        return await create_marker(ObjectStore.open(url))

    other = f"{machines.url}-other"
    trio.run(make, other)
    for url, text in [
        (other, "is another shared store"), (f"{machines.url}-none", "does not show its marker"),
        ("s3://absent-bucket/a", "there is no such bucket"),
    ]:  # fmt: skip
        one.umount(3)
        one.env["REMOTEFS_SHARED_STORE"] = url
        one.started()
        says(one, text)
        (one.path / "b").write_bytes(url.encode())
        assert waiting(one) >= 1
        assert (one.path / "a").read_bytes() == b"a" * 100
    assert keys_in(other) == [MARKER_KEY]
    assert keys_in(f"{machines.url}-none") == []
    with pytest.raises(ObjectStoreUnusable):
        trio.run(read_marker, ObjectStore.open("s3://absent-bucket/a"))
    one.umount(3)
    one.env["REMOTEFS_SHARED_STORE"] = machines.url
    one.started()
    one.flush()
    alike(one, machines.machine())


# -- a machine that may only read


@pytest.mark.store
@pytest.mark.timeout(300)
def test_a_reader_reads_and_its_uploads_arrive_once_it_may_write(machines: Machines, server: FaultyServer) -> None:
    one = machines.machine()
    (one.path / "a").write_bytes(b"a" * 100)
    reader = machines.machine(key=READER)
    assert (reader.path / "a").read_bytes() == b"a" * 100
    for number in range(3):
        with at_most(_PATIENCE_S):
            (reader.path / f"b{number}").write_bytes(b"b%d" % number)
    (reader.path / "a").chmod(0o604)
    eventually(lambda: len(stored(server)) == 4)
    eventually(lambda: len(shared(reader).failed) == 3)
    assert (shared(reader).trouble, waiting(reader)) == (None, 3)
    assert all("refuses access" in item.reason for item in shared(reader).failed)
    eventually(lambda: len(os.listdir(one.path)) == 4)
    with pytest.raises(PermissionError):
        (one.path / "b0").read_bytes()
    (one.path / "c").write_bytes(b"c" * 100)
    eventually(lambda: (reader.path / "c").exists())
    assert (reader.path / "c").read_bytes() == b"c" * 100
    assert not is_mounted(reader.path) or reader.umount(3).returncode == 3
    reader.env |= {"AWS_ACCESS_KEY_ID": WRITER.id, "AWS_SECRET_ACCESS_KEY": WRITER.secret}
    reader.started()
    eventually(lambda: waiting(reader) == 0)
    three = machines.machine()
    alike(reader, three)
