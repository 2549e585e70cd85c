"""Copies that have piled up under one name: `dedupe`."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Message


class DedupeParams(Message, frozen=True):
    """Remove copies below `path`: those equal to the one that is kept, or those of `file_ids` whatever they hold."""

    path: str = ""
    keep_oldest: bool = False
    dry_run: bool = False
    file_ids: tuple[str, ...] = ()


class CopyFound(Message, frozen=True):
    """One of several remote files of one name. `verdict`: kept, equal (removed unless dry run), differs, unknown."""

    path: str
    file_id: str
    size: int
    verdict: str


class DedupeResult(Message, frozen=True):
    """All copies, group by group; `removed` of them are gone."""

    copies: tuple[CopyFound, ...]
    removed: int


DEDUPE = Endpoint("dedupe", DedupeParams, DedupeResult)
