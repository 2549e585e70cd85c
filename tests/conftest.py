from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import certifi
import pytest
from hypothesis import settings

# A machine that is busy with the other tests is no reason to fail: the suite's own limit catches a hang.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

_NEEDS_ROOT = "needs root: "
_END_OF_CERTIFICATE = "-----END CERTIFICATE-----\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An ordinary user is shown what only root can run as skipped."""
    for item in items:
        if (mark := _out_of_reach(item)) is not None:
            item.add_marker(pytest.mark.skip(reason=_NEEDS_ROOT + mark.args[0]))


@pytest.fixture(scope="session", autouse=True)
def trusted_before(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """Trust one certificate instead of all of this machine's; SSL_CERT_FILE as it was.

    Hardly a test encrypts anything, and each client that is made would take 60 ms to read them all.
    """
    authority = tmp_path_factory.mktemp("trusted") / "authority.pem"
    authority.write_text(Path(certifi.where()).read_text().partition(_END_OF_CERTIFICATE)[0] + _END_OF_CERTIFICATE)
    before = os.environ.get("SSL_CERT_FILE")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(authority))
        yield before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where changes are judged no test on a mount is left out: the machine lacks something, and has to get it."""
    report = yield
    wanted = os.environ.get("CI") and item.get_closest_marker("mount") and not _out_of_reach(item)
    if wanted and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"a test on a mount was left out: {report.longrepr}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end which tests an ordinary user did not run, and why."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else ""
        if _NEEDS_ROOT in reason:
            reasons[reason.partition(_NEEDS_ROOT)[2]] += 1
    if reasons:
        terminalreporter.section("left out: these tests need root")
        for reason, number in reasons.most_common():
            terminalreporter.write_line(f"{number:5} {reason}")


def _out_of_reach(item: pytest.Item) -> pytest.Mark | None:
    """The mark that says why the one who runs the tests cannot run this one."""
    return None if os.geteuid() == 0 else item.get_closest_marker("root")
