"""Whether a staged file is what its close left: whole, written again, or damaged (R3, W3). Pure.

A row says DIRTY before the first byte of a new version is written. So after a kill a closed file is exactly what its
row says, and another content is damage: a bad disk, a cut, another program. Only a power cut, or a database that is
older than the bytes, takes a row away that said DIRTY. What then lies in staging is an edit that nobody acknowledged.

    the row is       its sums  the bytes                                 verdict
    dirty            -         any                                       WRITTEN: closed as it is
    closed or clean  match     of any time                               WHOLE
    closed or clean  any       match the sums of a later version         WRITTEN: the row of that version was lost
    closed or clean  any       found damaged before                      DAMAGED
    closed or clean  differ    changed after the close, no shorter, and  WRITTEN: a power cut took the row
                               the machine was restarted since
    closed or clean  differ    else                                      DAMAGED
    closed or clean  none      shorter than the row                      DAMAGED
    closed or clean  none      changed after the close                   WRITTEN
    closed or clean  none      longer than the row                       DAMAGED
    closed or clean  none      of that size and time                     WHOLE, as far as is known

Where that would be DAMAGED, but the bytes up to the size in the row match their sums, and nothing was changed after the
close, the verdict is OVERLONG: what lies behind them was never written by anybody, and is cut off.

The time alone proves nothing: a folder that was copied without its times is as good as before. Without sums the doubt
is decided for the bytes of that size or more, because nobody but their user can tell whether they are right; but bytes
that are certainly missing are never sent.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """What a staged file is, compared with its row."""

    WHOLE = "whole"
    WRITTEN = "written again"
    DAMAGED = "damaged"
    OVERLONG = "whole, with something behind its end"


class Evidence(NamedTuple):
    """What is known of a staged file and of its row; sizes in bytes."""

    is_dirty: bool
    # The size in the row, and of the bytes on the disk.
    recorded_size: int
    found_size: int
    # The bytes were changed after the close of the version.
    is_later: bool
    # Whether the bytes match the sums of their version; None: no sums are known.
    matches: bool | None
    # The bytes match the sums of a version that the row does not know.
    matches_later_version: bool = False
    # The file is longer than its row says, and up to there its bytes match the sums of their version.
    has_whole_head: bool = False
    was_damaged: bool = False
    # A power cut may have taken rows: the machine was restarted since the folder was last in use.
    was_restarted: bool = True


def judge(evidence: Evidence) -> Verdict:
    """Return what a staged file is."""
    verdict = _of_all_bytes(evidence)
    is_overlong = evidence.has_whole_head and not evidence.is_later
    return Verdict.OVERLONG if verdict is Verdict.DAMAGED and is_overlong else verdict


def _of_all_bytes(evidence: Evidence) -> Verdict:
    if evidence.is_dirty or (evidence.matches_later_version and not evidence.matches):
        return Verdict.WRITTEN
    if evidence.matches:
        return Verdict.WHOLE
    is_shorter = evidence.found_size < evidence.recorded_size
    if evidence.was_damaged or is_shorter:
        return Verdict.DAMAGED
    if evidence.matches is False:
        is_edit = evidence.is_later and evidence.was_restarted
        return Verdict.WRITTEN if is_edit else Verdict.DAMAGED
    if evidence.is_later:
        return Verdict.WRITTEN
    return Verdict.DAMAGED if evidence.found_size > evidence.recorded_size else Verdict.WHOLE
