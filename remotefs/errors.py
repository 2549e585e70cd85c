"""Every exception that remotefs raises on purpose. The class says who or what is to blame.

    RemotefsError
    ├── CallerError                     the request cannot be carried out on this tree (plain POSIX refusals)
    │   ├── NotFound  AlreadyExists  NotADirectory  IsADirectory  DirectoryNotEmpty
    │   ├── NotPermitted  AccessDenied  InvalidArgument  NameTooLong  BadName
    │   ├── NoAttribute  AttributeTooBig  FileTooBig  TooManyLinks  Unsupported
    │   └── NotReadable                 neither here nor downloadable (R2)
    ├── UsageError                      a wrong flag, setting or mountpoint: the command prints it and exits
    ├── RefusedError                    the service answered with a refusal
    │   ├── BadRequest                  400: StorageQuotaExceeded, NotDownloadable
    │   ├── AuthenticationFailed        401
    │   ├── KeyReplaced                 401, and another key is in use since: the same request will do
    │   ├── BillingProblem              402
    │   ├── PermissionRefused           403
    │   ├── RemoteNotFound              404: FileExpired
    │   ├── Conflict                    409
    │   ├── TooLarge                    413
    │   ├── RateLimited                 429: SpendCapReached (does not clear by waiting)
    │   └── ServerFailure               5xx: Overloaded (503, 529: certainly not carried out)
    ├── TransportError                  no reply, or not a whole one
    │   ├── Unreachable                 certainly not carried out: no connection, or it broke before all was sent;
    │   │                               NotAsked (not sent at all: there was no connection a moment ago)
    │   ├── OutOfSockets                certainly not carried out: this machine has no room for a connection
    │   ├── AmbiguousOutcome            sent, and it is unknown whether it was carried out (W6):
    │   │                               MisansweredUpload (the reply is about another file)
    │   │                               UnclearListing (the listing cannot show whether the service has the file)
    │   ├── ReplyBroken                 a body cut short, invalid JSON, an impossible page:
    │   │                               LengthDiffers
    │   └── DeadlineExceeded            SilentService (known to send nothing, so nobody waits for it)
    ├── ObjectStoreError                the shared store cannot do it (X1)
    │   ├── ObjectMissing               it has no such object, or no such bucket: the two look the same
    │   ├── ObjectStoreUnreachable      also a TransportError: no answer, an error of its own, too many requests
    │   ├── ObjectStoreDenied           the credentials, or the rights on a folder, do not allow it
    │   └── ObjectStoreUnusable         the wrong store, one of a newer version, or none at this address
    ├── CorruptionError                 bytes on this disk are not the ones that were written (R3)
    ├── StaleError                      the remote file was deleted under an open handle (R4)
    ├── IntentGone                      an intent was carried out or cancelled after it was read
    ├── LocalError                      this machine is in the way
    │   ├── OutOfSpace  StateLocked  StateUnusable
    └── AccountError                    the state folder belongs to another account (S1)

The branch decides whether a request that changes something may be sent again. After Unreachable and Overloaded it may,
because the service has done nothing. After an AmbiguousOutcome nobody knows, so the listing is read back first (W6).

`remotefs/fuse/translate.py` has the only table from these classes to errno; a test fails if a class has no row.
"""

from __future__ import annotations


class RemotefsError(Exception):
    """The base class. Its text is a sentence for a person: what happened, to which path, what to do.

    `request_id` is the service's identifier of the request, None if the service sent none.
    """

    request_id: str | None = None


class CallerError(RemotefsError):
    """The request cannot be carried out on this tree."""


class NotFound(CallerError):
    """ENOENT: the path, or the inode, does not exist."""


class AlreadyExists(CallerError):
    """EEXIST: the name is taken."""


class NotADirectory(CallerError):
    """ENOTDIR: a directory is needed."""


class IsADirectory(CallerError):
    """EISDIR: a directory cannot be used as a file."""


class DirectoryNotEmpty(CallerError):
    """ENOTEMPTY: the directory still has entries."""


class NotPermitted(CallerError):
    """EPERM: the operation is not possible for any user."""


class AccessDenied(CallerError):
    """EACCES: the caller may not do this."""


class NotReadable(AccessDenied):
    """The bytes are neither here nor downloadable (R2)."""


class InvalidArgument(CallerError):
    """EINVAL: an argument has a value that cannot be."""


class NameTooLong(CallerError):
    """ENAMETOOLONG: a component of a path has more than 255 bytes."""


class BadName(CallerError):
    """EILSEQ: a name is not UTF-8."""


class NoAttribute(CallerError):
    """ENODATA: the file has no such extended attribute."""


class AttributeTooBig(CallerError):
    """ENOSPC: the extended attributes would be larger than a file may carry."""


class FileTooBig(CallerError):
    """EFBIG: the file would be larger than the service accepts."""


class TooManyLinks(CallerError):
    """EMLINK: the file has as many names as it may have."""


class Unsupported(CallerError):
    """EOPNOTSUPP: the mount does not offer this."""


class UsageError(RemotefsError):
    """A flag, a setting or a mountpoint is invalid; the command prints the message and exits with status 2."""


class RefusedError(RemotefsError):
    """The service answered with a refusal.

    `status` is the HTTP status; `type` and `error_code` come from the envelope, None if it has none. `retry_after_s` is
    the wait that the service asks for, `should_retry` its own word on a retry; None if it sent none.
    Branch on the class, the status or `error_code`, never on the message.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str | None = None,  # noqa: A002 - the envelope's own word
        error_code: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.error_code = error_code
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry


class BadRequest(RefusedError):
    """400: the service rejects the request as such."""


class StorageQuotaExceeded(BadRequest):
    """400 `storage_quota_exceeded` (older servers: 403)."""


class NotDownloadable(BadRequest):
    """400 `file_not_downloadable`."""


class AuthenticationFailed(RefusedError):
    """401: the key is wrong or missing."""


class KeyReplaced(RefusedError):
    """401 with a key that another one has replaced since: the service has done nothing, and would now."""


class BillingProblem(RefusedError):
    """402: payment or billing is in the way."""


class PermissionRefused(RefusedError):
    """403: the key may not do this."""


class RemoteNotFound(RefusedError):
    """404: the service has no such file."""


class FileExpired(RemoteNotFound):
    """404 `file_expired`."""


class Conflict(RefusedError):
    """409: the request conflicts with another one."""


class TooLarge(RefusedError):
    """413: too large for the service, or for a proxy in front of it."""


class RateLimited(RefusedError):
    """429: too many requests."""


class SpendCapReached(RateLimited):
    """429 of the service itself without `retry-after`: a limit of spending, which does not clear by waiting."""


class ServerFailure(RefusedError):
    """5xx: it is unknown whether the request was carried out."""


class Overloaded(ServerFailure):
    """503 or 529: the request was certainly not carried out."""


class TransportError(RemotefsError):
    """No reply came, or not a whole one."""


class Unreachable(TransportError):
    """The request was not carried out: there was no connection, or it broke before all of the request was sent."""


class OutOfSockets(TransportError):
    """The request was not carried out: this machine could open no connection, which says nothing about the service."""


class AmbiguousOutcome(TransportError):
    """The request was sent and its outcome is unknown (W6)."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class MisansweredUpload(AmbiguousOutcome):
    """The reply to an upload describes a file that cannot be the one that was sent (W6)."""


class UnclearListing(AmbiguousOutcome):
    """An entry of the listing may be the file whose reply was lost, and cannot be read (W6)."""


class ReplyBroken(TransportError):
    """The reply was cut short or is impossible: invalid JSON, an invalid id, a cursor that repeats."""


class LengthDiffers(ReplyBroken):
    """The content does not have the length that was listed (R6).

    `actual_bytes` is None if it is only known to be longer. `in_body`: only the end of a body showed the difference, so
    that bytes of it may have reached a reader before.
    """

    def __init__(self, file_id: str, listed_bytes: int, actual_bytes: int | None, *, in_body: bool = False) -> None:
        length = "longer" if actual_bytes is None else f"{actual_bytes} bytes long"
        super().__init__(f"{file_id}: the listing says {listed_bytes} bytes, but the content is {length}")
        self.file_id = file_id
        self.listed_bytes = listed_bytes
        self.actual_bytes = actual_bytes
        self.in_body = in_body


class DeadlineExceeded(TransportError):
    """The time allowed for the request passed."""


class NotAsked(Unreachable):
    """The request is not sent, because earlier requests found that the service cannot be reached (R7)."""


class SilentService(DeadlineExceeded):
    """The caller does not wait, because earlier requests found that the service sends nothing (R7)."""


class ObjectStoreError(RemotefsError):
    """The shared store did not do what it was asked to (X1)."""


class ObjectMissing(ObjectStoreError):
    """The shared store has no such object.

    A missing bucket, and a network folder that is not mounted, look the same. So absence means nothing until the store
    has shown its marker (X5).
    """


class ObjectStoreUnreachable(ObjectStoreError, TransportError):
    """The shared store does not answer, fails, or asks to be left alone; a later try may succeed (X5)."""


class ObjectStoreDenied(ObjectStoreError):
    """The shared store refuses the credentials, or they lack a right."""


class ObjectStoreUnusable(ObjectStoreError):
    """The shared store is not there, is another one, or comes from a newer version (X5)."""


class CorruptionError(RemotefsError):
    """Bytes on this disk are not the ones that were written (R3)."""


class StaleError(RemotefsError):
    """ESTALE: the remote file was deleted under an open handle (R4)."""


class IntentGone(RemotefsError):
    """The row of an intent no longer exists: it was carried out or cancelled after the caller read it."""


class LocalError(RemotefsError):
    """This machine is in the way: its disk, its locks, its kernel."""


class OutOfSpace(LocalError):
    """ENOSPC: the disk under the state folder, or a quota on it, is full."""


class StateLocked(LocalError):
    """Another process uses this state folder."""


class StateUnusable(LocalError):
    """The state folder is damaged, cannot be accessed, comes from a newer version, or lies where locks do not work."""


class AccountError(RemotefsError):
    """The state folder belongs to another account (S1)."""
