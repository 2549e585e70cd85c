"""`remotefs probe`: it settles its questions, counts its requests and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.api.budget import Budget, Priority
from remotefs.api.client import Client
from remotefs.api.probe.questions import MAX_REQUESTS, PREFIX, Report, run_probe
from remotefs.config import Secret, ServiceConfig
from remotefs.errors import AuthenticationFailed, Unreachable
from tests.api.support import settings
from tests.faults import FaultyServer, HoldReply, LostReply, Reply, serve_faulty
from tests.gateway import gateway


def service(server: FaultyServer, **changes: object) -> ServiceConfig:
    return settings(base_url=server.url, api_key=Secret(server.key), **changes)


def answers(report: Report) -> dict[str, str]:
    return {finding.question: finding.answer for finding in report.findings}


async def left_on(server: FaultyServer) -> list[str]:
    """Files of the probe that the server still has."""
    async with Client(service(server), Budget(None)) as client:
        page = await client.list_page(None, priority=Priority.POLL)
    return [file.filename for file in page.files if file.filename.startswith(PREFIX)]


async def test_every_question_is_settled_within_its_requests(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path) as server:
        report = await run_probe(service(server))
        assert await left_on(server) == []
        assert len(server.script.requests()) == report.requests + 1
    assert report.requests <= MAX_REQUESTS
    assert report.left_over == ()
    found = answers(report)
    assert found["shape of the API"] == "GA"
    assert found["own uploads"] == "downloadable"
    assert found["empty file"] == "accepted, 0 bytes"
    assert found["Range"] == "honoured (206)"
    assert found["content length"] == "equal"
    assert "etag" in found["headers of content"]
    assert found["metadata right after an upload"] == "yes"
    assert found["metadata right after a delete"] == "404"
    assert found["listed right after a delete"] == "no"
    assert found["filename in decomposed form (NFD)"] == "kept"
    assert found["account in the headers"] == "yes"
    assert found["rate headers"] == "none"
    name_rule = next(answer for question, answer in found.items() if question.startswith("filename of 255 characters"))
    assert name_rule == "kept: the limit counts characters"


async def test_another_server_gets_other_answers(tmp_path: Path) -> None:
    options = {"uploads_downloadable": False, "name_unit": "bytes", "empty_files": False, "requests_per_minute": 6000}
    async with serve_faulty(tmp_path, **options) as server:
        report = await run_probe(service(server))
        assert await left_on(server) == []
    found = answers(report)
    assert found["own uploads"] == "not downloadable"
    assert found["content of an own upload"] == "refused with 400 file_not_downloadable"
    assert found["Range"] == "unknown: no file here can be downloaded"
    assert found["empty file"] == "refused with 400 invalid_request_error"
    assert found["rate headers"].endswith("6000 requests a minute")
    assert any(answer.endswith("the limit counts bytes") for answer in found.values())


async def test_a_server_without_ranges(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path, ranges=False) as server:
        assert answers(await run_probe(service(server)))["Range"] == "ignored (200)"


async def test_a_server_of_the_beta_shape_alone(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path) as server:
        server.script.add(Reply(404), op="list", when=lambda request: "anthropic-beta" not in request.headers)
        report = await run_probe(service(server, shape="auto"))
        assert report.shape == "beta"
        assert report.requests <= MAX_REQUESTS


@pytest.mark.parametrize("ids", [False, True])
async def test_a_gateway_that_refuses_the_beta_header(tmp_path: Path, ids: bool) -> None:
    with gateway(tmp_path, ids=ids) as server:
        report = await run_probe(service(server, shape="auto"))
        assert await left_on(server) == []
    found = answers(report)
    assert (report.shape, report.organization) == ("beta" if ids else "ga", None)
    assert found["own uploads"] == "downloadable"
    assert found["expires_in_seconds in the beta shape"].startswith("refused with 400")


async def test_a_wrong_key_and_no_server_end_it(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path) as server:
        with pytest.raises(AuthenticationFailed):
            await run_probe(settings(base_url=server.url))
    with pytest.raises(Unreachable):
        await run_probe(settings(base_url="http://127.0.0.1:9"))


async def test_an_interrupted_probe_cleans_up(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path) as server:
        held = server.script.add(HoldReply(), op="upload", nth=3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: run_probe(service(server)))
            await held.until_hit()
            nursery.cancel_scope.cancel()
            held.release()
        assert await left_on(server) == []
        assert server.script.count("upload") == 3


async def test_a_delete_that_fails_once_is_tried_again(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path) as server:
        server.script.add(Reply(500), op="delete", nth=2)
        report = await run_probe(service(server))
        assert (report.left_over, await left_on(server)) == ((), [])


async def test_what_may_be_left_behind_is_told(tmp_path: Path) -> None:
    warnings: list[str] = []
    async with serve_faulty(tmp_path) as server:
        server.script.add(LostReply(), op="upload", nth=2)
        report = await run_probe(service(server), warn=warnings.append)
        left = await left_on(server)
    assert len(report.left_over) == len(warnings) == len(left) == 1
    assert left[0] in "".join(warnings) or repr(left[0]) in warnings[0]


def command(server: FaultyServer, home: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {"HOME": str(home), "ANTHROPIC_API_KEY": server.key, "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    line = [sys.executable, "-m", "remotefs", "probe", "--base-url", server.url, *arguments]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def test_the_command_prints_a_table_and_json(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path / "server") as server:
        for arguments in ((), ("--json",)):
            process = command(server, tmp_path, *arguments)
            output, errors = await trio.to_thread.run_sync(process.communicate)
            assert (process.returncode, errors) == (0, "")
            if arguments:
                assert msgspec.json.decode(output, type=Report).shape == "ga"
            else:
                assert "Range" in output
                assert "honoured (206)" in output
            assert server.key not in output


async def test_the_command_interrupted_leaves_nothing(tmp_path: Path) -> None:
    async with serve_faulty(tmp_path / "server") as server:
        held = server.script.add(HoldReply(), op="upload", nth=2)
        process = command(server, tmp_path)
        await held.until_hit()
        process.send_signal(signal.SIGINT)
        held.release()
        _, errors = await trio.to_thread.run_sync(process.communicate)
        assert process.returncode == 130
        assert "interrupted" in errors
        assert await left_on(server) == []
