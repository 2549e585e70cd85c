"""docs/conformance.md names each test of the foreign suites that fails, and the reports of those suites are read right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.conformance import BEGIN, END, tables, unnamed_failures, write
from scripts.devices import MOUNT_HELPER
from scripts.suites import SuiteMissing, Suites, checked_places, read_prove, read_xunit
from tests.docs.support import DOCS

DOCUMENT = DOCS / "conformance.md"
XUNIT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="xfstests" failures="1" skipped="2" tests="4" time="9">
  <testcase classname="xfstests.global" name="generic/001" time="3"></testcase>
  <testcase classname="xfstests.global" name="generic/002" time="0"><skipped message="no kernel support for x" /></testcase>
  <testcase classname="xfstests.global" name="generic/003" time="0"><skipped message="no kernel support for x" /></testcase>
  <testcase classname="xfstests.global" name="generic/004" time="6"><failure message="output mismatch" type="TestFail" />
    <system-out><![CDATA[ ... ]]></system-out></testcase>
</testsuite>
"""
PROVE = """/p/tests/open/24.t ........ ok
/p/tests/open/25.t ........ Failed 3/8 subtests

Test Summary Report
-------------------
/p/tests/open/25.t      (Wstat: 0 Tests: 8 Failed: 3)
  Failed tests:  2-4
/p/tests/unlink/14.t    (Wstat: 0 Tests: 7 Failed: 0)
  TODO passed:   4
Files=237, Tests=8798, 301 wallclock secs ( 1.97 usr  0.81 sys + 35.1 cusr 46.7 csys = 84.6 CPU)
Result: FAIL
"""


def test_what_fails_is_named() -> None:
    results = json.loads(DOCUMENT.with_suffix(".json").read_text(encoding="utf-8"))
    assert unnamed_failures(DOCUMENT.read_text(encoding="utf-8"), results) == {}


def test_the_table_is_that_of_the_results() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    results = json.loads(DOCUMENT.with_suffix(".json").read_text(encoding="utf-8"))
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == tables(results).strip()


def test_a_failure_that_nobody_named_is_told() -> None:
    ours = {"suite": "x", "on": "remotefs", "failed": {"generic/1": "mismatch", "generic/2": "hang"}}
    theirs = {"suite": "x", "on": "sshfs", "failed": {"generic/3": "mismatch"}}
    told = unnamed_failures("| `generic/1` | this machine |", {"a": ours, "b": theirs})
    assert told == {"generic/2": "hang"}


def test_tables_replace_those_of_the_last_run_and_nothing_else(tmp_path: Path) -> None:
    document = tmp_path / "conformance.md"
    document.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nReasons\n")
    result = {
        "suite": "fsx", "on": "sshfs", "run": 3, "passed": 2, "failed": {"direct": "exit status 1"}, "not_run": {},
        "seconds": 120.0, "date": "2026-11-28", "kernel": "6.18.44",
    }  # fmt: skip
    write(document, {"fsx on sshfs": result})
    text = document.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nReasons\n")
    assert "| fsx | sshfs | 3 | 2 | 1 | 0 | 2 | 2026-11-28 | 6.18.44 |" in text
    assert "old" not in text


def test_a_report_of_xfstests_is_read() -> None:
    verdict = read_xunit(XUNIT)
    assert (verdict.run, verdict.passed, verdict.seconds) == (2, 1, 9)
    assert verdict.failed == {"generic/004": "output mismatch"}
    assert verdict.not_run == {"no kernel support for x": 2}


def test_a_summary_of_prove_is_read() -> None:
    verdict = read_prove(PROVE, Path("/p/tests"), 301)
    assert (verdict.run, verdict.passed) == (8798, 8795)
    assert verdict.failed == {"open/25.t": "3 of its tests"}


def test_a_run_that_ended_early_is_no_verdict() -> None:
    with pytest.raises(SuiteMissing, match="without a summary"):
        read_prove("Killed\n", Path("/p/tests"), 1)


@pytest.mark.root("the suites act as other users, and say so first")
@pytest.mark.skipif(not MOUNT_HELPER.exists(), reason="the helper of fuse3 is told to be missing first")
def test_a_suite_that_is_not_there_is_told_with_the_way_to_it(tmp_path: Path) -> None:
    with pytest.raises(SuiteMissing, match="nobody said where xfstests lies: fetch .*kdave/xfstests.*XFSTESTS"):
        checked_places(Suites(None, None, ()), ["xfstests"])
    with pytest.raises(SuiteMissing, match=r"pjdfstest is missing: fetch .*pjd/pjdfstest"):
        checked_places(Suites(None, tmp_path, ()), ["pjdfstest"])
