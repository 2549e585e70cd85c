from pathlib import Path
import trio
from tests.parts import running
from tests.faults import FaultyServer

async def test_smoke(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a.txt", b"hello")
        assert host.remote_names() == ["a.txt"]
        assert host.remote_bytes("a.txt") == [b"hello"]
        await host.write("a.txt", b"hello2")
        await host.settled()
        assert host.remote_bytes("a.txt") == [b"hello2"]
        assert await host.read("a.txt") == b"hello2"
        host.unlink("a.txt")
        await host.settled()
        assert host.stored() == []
