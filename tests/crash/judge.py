"""What has to be true after a crash and the recovery from it (W3, A3): nothing acknowledged is lost, nothing is twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from remotefs import names
from remotefs.server.queries import ListQuery
from tests.crash.operations import Tree
from tests.crash.report import Report, Shown
from tests.faults import FaultyServer

Stored = dict[str, tuple[str, bytes]]


def stored(server: FaultyServer, root: Path) -> Stored:
    """(name, content) of each file that the service has, by its id."""
    records = server.store.list(ListQuery(limit=1000)).records
    return {record.id: (record.filename, (root / "files" / record.id).read_bytes()) for record in records}


def tree_of(report: Report) -> Tree:
    """What a user sees of what can be read."""
    files = {path: shown.content for shown in report.files for path in shown.paths if shown.content is not None}
    return files | {f"{folder}/": b"" for folder in report.folders}


def faults(
    report: Report,
    allowed: Sequence[Tree],
    at_service: Stored,
    *,
    beside: Iterable[bytes] = (),
    may_send_twice: bool = False,
    aliases: bool = False,
    power_cut: bool = False,
) -> list[str]:
    """What is wrong, in words; nothing when all is well.

    `allowed` are the trees that may be there; `beside` what the service has without it being one of these files.
    """
    found = [*_of_the_tree(report, allowed, aliases=aliases), *_of_the_state(report, power_cut)]
    found += _of_the_service(report, at_service, Counter(beside), may_send_twice, power_cut)
    if not aliases:
        found += _of_the_names(report, at_service)
    return found


def _of_the_tree(report: Report, allowed: Sequence[Tree], *, aliases: bool) -> Iterable[str]:
    tree = tree_of(report)
    if aliases:
        # Of two files of one name it is the newest that has it: what counts is that each content is there.
        if not any(_contents(expected) <= _contents(tree) for expected in allowed):
            yield f"contents are missing: {_brief(tree)} instead of {' or '.join(map(_brief, allowed))}"
    elif tree not in allowed:
        yield f"the tree is {_brief(tree)} instead of {' or '.join(map(_brief, allowed))}"


def _of_the_state(report: Report, power_cut: bool) -> Iterable[str]:
    if report.pending:
        yield f"still pending: {report.pending}"
    if report.staged:
        yield f"left in staging: {report.staged}"
    bound = {shown.file_id for shown in report.files}
    orphans = [name for name in report.kept if name.partition(".")[0] not in bound]
    if orphans:
        yield f"content of no file: {orphans}"
    if report.unnamed_trash and not power_cut:
        yield f"{report.unnamed_trash} in the trash without a record"
    yield from report.findings


def _of_the_service(
    report: Report, at_service: Stored, beside: Counter[bytes], may_send_twice: bool, power_cut: bool
) -> Iterable[str]:
    for shown in report.files:
        if power_cut and shown.content == b"" and shown.file_id is None:
            continue  # a new file whose bytes did not come to the disk: that is said, and nothing is sent for it
        if shown.file_id not in at_service:
            yield f"{shown.paths}: the service has no {shown.file_id}"
        elif shown.content is not None and at_service[shown.file_id][1] != shown.content:
            yield f"{shown.paths}: the service has other bytes: {_short(at_service[shown.file_id][1])}"
    bound = Counter(shown.file_id for shown in report.files if shown.file_id)
    yield from (f"{file_id} is bound {count} times" for file_id, count in bound.items() if count > 1)
    here = Counter(shown.content for shown in report.files if shown.content is not None)
    there = Counter(data for _, data in at_service.values())
    surplus = there - here - beside
    if not may_send_twice and surplus:
        yield f"twice or without a file at the service: {[_short(data) for data in surplus.elements()]}"


def _of_the_names(report: Report, at_service: Stored) -> Iterable[str]:
    for shown in report.files:
        name, _ = at_service.get(shown.file_id or "", ("", b""))
        if name and not shown.adopted and names.decode(name) not in shown.paths:
            yield f"{shown.paths} is called {name} at the service"


def _contents(tree: Tree) -> Counter[bytes]:
    return Counter(data for path, data in tree.items() if not path.endswith("/"))


def _brief(tree: Tree) -> str:
    shown = [f"{path}={_short(data)}" for path, data in sorted(tree.items())]
    return f"{{{', '.join(shown[:12])}{' …' if len(shown) > 12 else ''}}}"


def _short(data: bytes) -> str:
    return f"{len(data)} bytes {data[:12]!r}"


__all__ = ["Shown", "faults", "stored", "tree_of"]
