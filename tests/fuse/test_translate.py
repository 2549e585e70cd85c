"""The one table from exceptions to errno, and the records that the kernel is given."""

from __future__ import annotations

import errno
import inspect
import logging
import stat

import pyfuse3
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs import errors
from remotefs.fuse.operations import answering
from remotefs.fuse.requests import Requests
from remotefs.fuse.translate import (
    ERRNO_TABLE,
    absent_entry,
    attribute_change,
    entry_attributes,
    errno_of,
    statvfs,
)
from remotefs.store.records import ContentState, Inode
from remotefs.vfs.attributes import BLOCK_BYTES, AttributeChange, FileSystemSize
from remotefs.vfs.handles import Handles

PUBLIC = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.RemotefsError) and kind.__module__ == errors.__name__
]
# What the kernel takes for something else: a request that is off for ever, a signal, a sentinel of its own.
FORBIDDEN = {errno.ENOSYS, errno.EINTR, errno.ECHILD}


def made(kind: type[errors.RemotefsError]) -> errors.RemotefsError:
    if issubclass(kind, errors.RefusedError):
        return kind("no", status=400)
    return kind("no", 5, 6) if issubclass(kind, errors.LengthDiffers) else kind("no")


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_exception_has_a_row_of_its_own_and_that_row_wins(kind: type[errors.RemotefsError]) -> None:
    rows = {row[0]: row[1:] for row in ERRNO_TABLE}
    assert kind in rows, f"{kind.__name__} has no row in ERRNO_TABLE"
    assert errno_of(made(kind)) == rows[kind]


def test_a_subclass_stands_before_its_base() -> None:
    kinds = [row[0] for row in ERRNO_TABLE]
    assert len(kinds) == len(set(kinds))
    for at, kind in enumerate(kinds):
        assert not any(issubclass(later, kind) for later in kinds[at + 1 :]), f"{kind.__name__} hides a later row"


@pytest.mark.parametrize("row", ERRNO_TABLE, ids=lambda row: row[0].__name__)
def test_every_number_is_one_that_the_kernel_takes(row: tuple[type[Exception], int, int]) -> None:
    assert 1 <= row[1] <= 511
    assert row[1] in errno.errorcode
    assert row[1] not in FORBIDDEN


@settings(deadline=None, max_examples=50)
@given(st.integers(-(2**40), 2**40) | st.sampled_from(sorted(errno.errorcode)))
def test_any_oserror_becomes_a_number_that_the_kernel_takes(number: int) -> None:
    found, level = errno_of(OSError(number, "x"))
    assert 1 <= found <= 511
    assert found not in FORBIDDEN
    assert level == logging.ERROR


@pytest.mark.parametrize("error", [ValueError("x"), AssertionError(), KeyError(1), OSError("no number"), Exception()])
def test_what_was_not_foreseen_is_eio_and_said_aloud(error: Exception) -> None:
    assert errno_of(error) == (errno.EIO, logging.ERROR)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (errors.NotReadable, errno.EACCES),
        (errors.TooLarge, errno.EFBIG),
        (errors.FileTooBig, errno.EFBIG),
        (errors.StorageQuotaExceeded, errno.EDQUOT),
        (errors.BadRequest, errno.EINVAL),
        (errors.PermissionRefused, errno.EACCES),
        (errors.NameTooLong, errno.ENAMETOOLONG),
        (errors.BadName, errno.EILSEQ),
        (errors.StaleError, errno.ESTALE),
        (errors.RemoteNotFound, errno.ESTALE),
        (errors.CorruptionError, errno.EIO),
        (errors.OutOfSpace, errno.ENOSPC),
    ],
)
def test_the_numbers_that_the_contract_names(kind: type[errors.RemotefsError], number: int) -> None:
    """N2, R2, R3, R4, W2, A8."""
    assert errno_of(made(kind))[0] == number


# -- handlers


class Handlers:
    """Handlers as the kernel's are: methods of an object that counts requests."""

    announced = None

    def __init__(self) -> None:
        self.requests = Requests(Handles())

    @answering
    async def handler(self, error: BaseException | None) -> str:
        if error is not None:
            raise error
        return "reply"

    @answering
    async def waiting(self) -> None:
        await trio.sleep_forever()


handler = Handlers().handler


async def test_a_reply_passes() -> None:
    assert await handler(None) == "reply"


@pytest.mark.parametrize(
    ("error", "number"), [(errors.NotFound("x"), errno.ENOENT), (ZeroDivisionError(), errno.EIO)], ids=["ours", "any"]
)
async def test_an_exception_becomes_an_errno(error: Exception, number: int) -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await handler(error)
    assert raised.value.errno == number


async def test_a_mistake_is_logged_with_its_trace_and_a_plain_refusal_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for error in (errors.NotFound("quiet"), errors.StaleError("said"), ZeroDivisionError("shouted")):
        with pytest.raises(pyfuse3.FUSEError):
            await handler(error)
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [
        ("handler: said", False),
        ("handler: shouted", True),
    ]


async def test_a_fuse_error_stays_what_it_is() -> None:
    with pytest.raises(pyfuse3.FUSEError) as raised:
        await handler(pyfuse3.FUSEError(errno.EPERM))
    assert raised.value.errno == errno.EPERM


async def test_a_cancellation_passes() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await Handlers().waiting()
    assert scope.cancelled_caught


# -- records

INODE = Inode(
    ino=7, mode=stat.S_IFREG | 0o640, uid=3, gid=4, nlink=2, rdev=0, size=1025, atime_ns=11, mtime_ns=12, ctime_ns=13,
    target=None, parent=None, implied=0, state=ContentState.CLEAN, content_gen=0, staged_gen=None, file_id=None,
    conflict_id=None, replaced_by=None, closed_ns=0,
)  # fmt: skip


def test_the_kernel_sees_the_inode() -> None:
    entry = entry_attributes(INODE, 60.0)
    assert (entry.st_ino, entry.st_mode, entry.st_nlink, entry.st_uid, entry.st_gid) == (7, 0o100640, 2, 3, 4)
    assert (entry.st_size, entry.st_blocks, entry.st_blksize) == (1025, 3, BLOCK_BYTES)
    assert (entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns) == (11, 12, 13)
    assert (entry.entry_timeout, entry.attr_timeout) == (60.0, 60.0)


@pytest.mark.parametrize(("size", "sectors"), [(0, 0), (1, 1), (512, 1), (513, 2), (500 << 20, 1024000)])
def test_blocks_are_sectors_of_512_bytes(size: int, sectors: int) -> None:
    assert entry_attributes(INODE._replace(size=size), 1.0).st_blocks == sectors


def test_an_absent_name_is_inode_0() -> None:
    assert (absent_entry(60.0).st_ino, absent_entry(60.0).entry_timeout) == (0, 60.0)


@pytest.mark.parametrize("fields", [set(), {"mode"}, {"size", "mtime"}, {"uid", "gid"}, {"atime"}])
def test_only_what_setattr_tells_is_changed(fields: set[str]) -> None:
    attributes = pyfuse3.EntryAttributes()
    attributes.st_mode, attributes.st_uid, attributes.st_gid, attributes.st_size = 1, 2, 3, 4
    attributes.st_atime_ns, attributes.st_mtime_ns = 5, 6

    class Fields:
        def __getattr__(self, name: str) -> bool:
            return name.removeprefix("update_") in fields

    told = attribute_change(attributes, Fields())  # type: ignore[arg-type]  # pyfuse3 lets nobody make its own
    expected = {"mode": 1, "uid": 2, "gid": 3, "size": 4, "atime": 5, "mtime": 6}
    columns = {name + ("_ns" if "time" in name else ""): expected[name] for name in fields}
    assert told == AttributeChange(**columns)


def test_statfs() -> None:
    """N5."""
    data = statvfs(FileSystemSize(blocks=100, free_blocks=40, files=7), 255)
    assert (data.f_bsize, data.f_frsize, data.f_blocks, data.f_bfree, data.f_bavail) == (4096, 4096, 100, 40, 40)
    assert (data.f_files, data.f_namemax) == (7, 255)
    assert data.f_ffree > 0
