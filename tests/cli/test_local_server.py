"""The local server as a child: a stand-in that announces itself as `remotefs serve` does, and can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from remotefs.cli.launch.local_server import LocalServer, local_server
from remotefs.config import Secret
from remotefs.errors import LocalError

# As `remotefs serve`: locks the root, announces itself, ends with its standard input.
STAND_IN = """
import argparse, fcntl, json, os, socket, sys, threading
parser = argparse.ArgumentParser()
for name in ("--root", "--port"):
    parser.add_argument(name)
parser.add_argument("--exit-with-parent", action="store_true")
told = parser.parse_args()
lock = os.open(told.root + "/server.lock", os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(2)
with open(told.root + "/starts", "a") as starts:
    starts.write(f"{os.getpid()} {sorted(n for n in os.environ if n.startswith('ANTHROPIC_'))}\\n")
listener = socket.create_server(("127.0.0.1", int(told.port)))
with open(told.root + "/api-key", "w") as key:
    key.write("sk-local\\n")
line = json.dumps({"url": "http://127.0.0.1:%d" % listener.getsockname()[1], "key_file": told.root + "/api-key"})
with open(told.root + "/server.json", "w") as file:
    file.write(line)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print(line, flush=True)
while True:
    listener.accept()[0].close()
"""
PROGRAM = (sys.executable, "-c", STAND_IN)


def starts(root: Path) -> list[tuple[int, str]]:
    lines = (root / "starts").read_text().splitlines()
    return [(int(pid), rest) for pid, _, rest in (line.partition(" ") for line in lines)]


async def answers(server: LocalServer) -> bool:
    try:
        await (await trio.open_tcp_stream("127.0.0.1", server.port)).aclose()
    except OSError:
        return False
    return True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Another process tells nobody of what it does: it is looked at."""
    with trio.fail_after(20):
        while not await condition():  # noqa: ASYNC110 - see above
            await trio.sleep(0.02)


async def until_served_again(root: Path, server: LocalServer) -> None:
    async def again() -> bool:
        return len(starts(root)) == 2 and await answers(server)

    await until(again)


async def test_it_serves_while_it_is_wanted_and_no_longer(tmp_path: Path) -> None:
    async with local_server(tmp_path / "root", program=PROGRAM) as server:
        assert server.key == Secret("sk-local")
        assert await answers(server)
    assert not await answers(server)


async def test_a_death_is_followed_by_a_new_one_at_the_same_port(tmp_path: Path) -> None:
    async with local_server(tmp_path, program=PROGRAM) as server:
        os.kill(starts(tmp_path)[0][0], signal.SIGKILL)
        await until_served_again(tmp_path, server)
    assert not await answers(server)


async def test_a_root_that_is_served_already_is_shared_and_taken_over(tmp_path: Path) -> None:
    async with local_server(tmp_path, program=PROGRAM) as mine:
        async with local_server(tmp_path, program=PROGRAM) as shared:
            assert shared == mine
            assert len(starts(tmp_path)) == 1
        assert await answers(mine)


async def test_when_the_other_server_goes_ours_takes_its_place(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        closing, opened = trio.Event(), trio.Event()

        async def other() -> None:
            async with local_server(tmp_path, program=PROGRAM):
                opened.set()
                await closing.wait()

        nursery.start_soon(other)
        await opened.wait()
        async with local_server(tmp_path, program=PROGRAM) as server:
            closing.set()
            await until_served_again(tmp_path, server)


async def test_the_key_for_the_real_service_does_not_reach_it(tmp_path: Path) -> None:
    program = (
        "import trio, sys, pathlib; from remotefs.cli.launch.local_server import local_server\n"
        "async def main():\n"
        "    async with local_server(pathlib.Path(sys.argv[1]), program=sys.argv[2:]): pass\n"
        "trio.run(main)"
    )
    environment = {**os.environ, "ANTHROPIC_API_KEY": "sk-real", "ANTHROPIC_CUSTOM_HEADERS": "X: y"}
    command = [sys.executable, "-c", program, str(tmp_path), *PROGRAM]
    await trio.run_process(command, env=environment)
    assert starts(tmp_path)[0][1] == "[]"


async def test_it_ends_with_a_mount_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import trio, sys, pathlib; from remotefs.cli.launch.local_server import local_server\n"
        "async def main():\n"
        "    async with local_server(pathlib.Path(sys.argv[1]), program=sys.argv[2:]) as server:\n"
        "        print(server.port, flush=True); await trio.sleep_forever()\n"
        "trio.run(main)"
    )
    command = [sys.executable, "-c", program, str(tmp_path), *PROGRAM]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(_run_until_killed, command)
        port = int((await process.stdout.receive_some()).split()[0])
        process.kill()

    async def silent() -> bool:
        return not await answers(LocalServer(f"http://127.0.0.1:{port}", None))

    await until(silent)


async def _run_until_killed(command: list[str], *, task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False, task_status=task_status
    )


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; print('disk on fire', file=sys.stderr); sys.exit(1)", "disk on fire"),
        ("import sys; sys.exit(2)", "did not start"),
        ("print('hello')", "cannot be used"),
        ('print(\'{"url": "http://127.0.0.1:1", "key_file": "/missing"}\')', "missing"),
    ],
)
async def test_a_start_that_fails_says_why(tmp_path: Path, program: str, reason: str) -> None:
    with pytest.raises(LocalError, match=reason):
        async with local_server(tmp_path, program=(sys.executable, "-c", program)):
            raise AssertionError


async def test_a_root_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    await trio.Path(tmp_path / "file").touch()
    with pytest.raises(LocalError, match="file/root"):
        async with local_server(tmp_path / "file" / "root", program=PROGRAM):
            raise AssertionError
