"""Translation of the file system's records into pyfuse3's, and the one table from exceptions to errno."""

from __future__ import annotations

import errno
import logging

import pyfuse3

from remotefs import errors
from remotefs.store.records import Entry, Inode
from remotefs.vfs.attributes import BLOCK_BYTES, AttributeChange, FileSystemSize

# The unit of st_blocks, whatever the block size (stat(2)).
_SECTOR_BYTES = 512
_QUIET, _SAY, _SHOUT = logging.DEBUG, logging.WARNING, logging.ERROR

# After ENOSYS the kernel never sends that kind of request again while the mount lives. EINTR makes the caller, and
# ECHILD the kernel's path walk, try again (docs/adr/0002-kernel-facts.md).
_NEVER_ANSWERED = {errno.ENOSYS, errno.EINTR, errno.ECHILD}

# The first row that matches counts, so a subclass stands before its base. The last column is the log level: debug for a
# plain POSIX answer, warning for what a person may have to act on, error for a fault of this machine or of remotefs.
ERRNO_TABLE: tuple[tuple[type[Exception], int, int], ...] = (
    (errors.NotFound, errno.ENOENT, _QUIET),
    (errors.AlreadyExists, errno.EEXIST, _QUIET),
    (errors.NotADirectory, errno.ENOTDIR, _QUIET),
    (errors.IsADirectory, errno.EISDIR, _QUIET),
    (errors.DirectoryNotEmpty, errno.ENOTEMPTY, _QUIET),
    (errors.NotPermitted, errno.EPERM, _QUIET),
    (errors.NotReadable, errno.EACCES, _SAY),
    (errors.AccessDenied, errno.EACCES, _QUIET),
    (errors.InvalidArgument, errno.EINVAL, _QUIET),
    (errors.NameTooLong, errno.ENAMETOOLONG, _QUIET),
    (errors.BadName, errno.EILSEQ, _QUIET),
    (errors.NoAttribute, errno.ENODATA, _QUIET),
    (errors.AttributeTooBig, errno.ENOSPC, _QUIET),
    (errors.FileTooBig, errno.EFBIG, _SAY),
    (errors.TooManyLinks, errno.EMLINK, _QUIET),
    (errors.Unsupported, errno.EOPNOTSUPP, _QUIET),
    (errors.CallerError, errno.EINVAL, _SAY),
    (errors.UsageError, errno.EINVAL, _SAY),
    (errors.StorageQuotaExceeded, errno.EDQUOT, _SAY),
    (errors.NotDownloadable, errno.EACCES, _SAY),
    (errors.BadRequest, errno.EINVAL, _SAY),
    (errors.AuthenticationFailed, errno.EACCES, _SAY),
    (errors.KeyReplaced, errno.EAGAIN, _SAY),
    (errors.BillingProblem, errno.EACCES, _SAY),
    (errors.PermissionRefused, errno.EACCES, _SAY),
    (errors.FileExpired, errno.ESTALE, _SAY),
    (errors.RemoteNotFound, errno.ESTALE, _SAY),
    (errors.Conflict, errno.EIO, _SAY),
    (errors.TooLarge, errno.EFBIG, _SAY),
    (errors.SpendCapReached, errno.EDQUOT, _SAY),
    (errors.RateLimited, errno.EAGAIN, _SAY),
    (errors.Overloaded, errno.EIO, _SAY),
    (errors.ServerFailure, errno.EIO, _SAY),
    (errors.RefusedError, errno.EIO, _SAY),
    # SilentService and NotAsked repeat, for each read of each file, what an earlier error has logged already.
    (errors.SilentService, errno.ETIMEDOUT, _QUIET),
    (errors.DeadlineExceeded, errno.ETIMEDOUT, _SAY),
    (errors.NotAsked, errno.EIO, _QUIET),
    (errors.Unreachable, errno.EIO, _SAY),
    (errors.OutOfSockets, errno.EIO, _SHOUT),
    (errors.MisansweredUpload, errno.EIO, _SHOUT),
    (errors.UnclearListing, errno.EIO, _SAY),
    (errors.AmbiguousOutcome, errno.EIO, _SAY),
    (errors.LengthDiffers, errno.EIO, _SHOUT),
    (errors.ReplyBroken, errno.EIO, _SAY),
    (errors.ObjectMissing, errno.EACCES, _SAY),
    (errors.ObjectStoreUnreachable, errno.EIO, _SAY),
    (errors.ObjectStoreDenied, errno.EACCES, _SAY),
    (errors.ObjectStoreUnusable, errno.EIO, _SAY),
    (errors.ObjectStoreError, errno.EIO, _SAY),
    (errors.TransportError, errno.EIO, _SAY),
    (errors.CorruptionError, errno.EIO, _SHOUT),
    (errors.StaleError, errno.ESTALE, _SAY),
    (errors.IntentGone, errno.EIO, _SHOUT),
    (errors.OutOfSpace, errno.ENOSPC, _SAY),
    (errors.StateLocked, errno.EIO, _SHOUT),
    (errors.StateUnusable, errno.EIO, _SHOUT),
    (errors.LocalError, errno.EIO, _SHOUT),
    (errors.AccountError, errno.EIO, _SHOUT),
    (errors.RemotefsError, errno.EIO, _SHOUT),
)


def errno_of(error: Exception) -> tuple[int, int]:
    """Return (errno, log level) for any exception.

    An OSError keeps its errno where the kernel can pass that on; everything else outside of the table is EIO. Both are
    logged as errors, because an exception that is not a RemotefsError is a bug or a fault of the machine.
    """
    for kind, number, level in ERRNO_TABLE:
        if isinstance(error, kind):
            return number, level
    if (
        isinstance(error, OSError)
        and error.errno
        and error.errno in errno.errorcode
        and error.errno not in _NEVER_ANSWERED
    ):
        return error.errno, _SHOUT
    return errno.EIO, _SHOUT


def entry_attributes(inode: Inode | Entry, timeout_s: float) -> pyfuse3.EntryAttributes:
    """Return the attributes of an inode for the kernel, valid for `timeout_s` seconds."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(inode.ino)
    entry.st_mode = pyfuse3.ModeT(inode.mode)
    entry.st_nlink = inode.nlink
    entry.st_uid = inode.uid
    entry.st_gid = inode.gid
    entry.st_rdev = inode.rdev
    entry.st_size = inode.size
    entry.st_blksize = BLOCK_BYTES
    entry.st_blocks = -(-inode.size // _SECTOR_BYTES)
    entry.st_atime_ns = inode.atime_ns
    entry.st_mtime_ns = inode.mtime_ns
    entry.st_ctime_ns = inode.ctime_ns
    entry.entry_timeout = timeout_s
    entry.attr_timeout = timeout_s
    return entry


def absent_entry(timeout_s: float) -> pyfuse3.EntryAttributes:
    """Return the entry of a name that does not exist, valid for `timeout_s` seconds."""
    entry = pyfuse3.EntryAttributes()
    # Inode 0 means "no such name" in a reply to LOOKUP.
    entry.st_ino = pyfuse3.InodeT(0)
    entry.entry_timeout = timeout_s
    return entry


def attribute_change(attributes: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> AttributeChange:
    """Return the change that a SETATTR asks for; None for each field that it leaves alone.

    Only the fields that `fields` marks are copied: the others do not hold the values of the inode.
    """
    return AttributeChange(
        mode=attributes.st_mode if fields.update_mode else None,
        uid=attributes.st_uid if fields.update_uid else None,
        gid=attributes.st_gid if fields.update_gid else None,
        size=attributes.st_size if fields.update_size else None,
        atime_ns=attributes.st_atime_ns if fields.update_atime else None,
        mtime_ns=attributes.st_mtime_ns if fields.update_mtime else None,
    )


def statvfs(size: FileSystemSize, max_name_bytes: int) -> pyfuse3.StatvfsData:
    """Return the answer to a statfs for the kernel, in blocks of BLOCK_BYTES."""
    data = pyfuse3.StatvfsData()
    data.f_bsize = data.f_frsize = BLOCK_BYTES
    data.f_blocks = size.blocks
    data.f_bfree = data.f_bavail = size.free_blocks
    data.f_files = size.files
    # No limit on the number of files is known.
    data.f_ffree = data.f_favail = 1 << 30
    data.f_namemax = max_name_bytes
    return data
