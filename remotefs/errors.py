"""Every exception that remotefs raises on purpose, with the blame in the type.

    RemotefsError
    ├── CallerError                     what was asked for cannot be done on this tree (plain POSIX refusals)
    │   ├── NotFound  AlreadyExists  NotADirectory  IsADirectory  DirectoryNotEmpty
    │   ├── NotPermitted  AccessDenied  InvalidArgument  NameTooLong  BadName
    │   ├── NoAttribute  AttributeTooBig  FileTooBig  TooManyLinks  Unsupported
    │   └── NotReadable                 neither here nor downloadable (R2)
    ├── UsageError                      a wrong flag, setting or mountpoint: the command says so and ends
    ├── RefusedError                    the service answered, and its answer is no
    │   ├── BadRequest                  400: StorageQuotaExceeded, NotDownloadable
    │   ├── AuthenticationFailed        401
    │   ├── BillingProblem              402
    │   ├── PermissionRefused           403
    │   ├── RemoteNotFound              404: FileExpired
    │   ├── Conflict                    409
    │   ├── TooLarge                    413
    │   ├── RateLimited                 429: SpendCapReached (does not clear by waiting)
    │   └── ServerFailure               5xx: Overloaded (503, 529: certainly not carried out)
    ├── TransportError                  no answer, or not a whole one
    │   ├── Unreachable                 certainly not carried out: no connection, or it broke before all was sent;
    │   │                               NotAsked (not sent at all: there was no connection a moment ago)
    │   ├── AmbiguousOutcome            sent, and nobody knows whether it was carried out (W6):
    │   │                               MisansweredUpload (the reply is about another file)
    │   ├── ReplyBroken                 a body cut short, JSON that is none, a page that cannot be:
    │   │                               LengthDiffers
    │   └── DeadlineExceeded            SilentService (known to send nothing, so nobody waits for it)
    ├── CorruptionError                 bytes on this disk are not the ones that were put there (R3)
    ├── StaleError                      the remote file went away under an open handle (R4)
    ├── IntentGone                      pending work was carried out or cancelled since it was read
    ├── LocalError                      this machine is in the way
    │   ├── OutOfSpace  StateLocked  StateUnusable
    └── AccountError                    the state folder belongs to another account (S1)

The one table from these to errno stands in `remotefs/fuse/translate.py`; a test fails when a class has no row.
"""

from __future__ import annotations


class RemotefsError(Exception):
    """The root. `str()` of it is a sentence for a person: what happened, to which path, what to do.

    `request_id` is the service's name for the request, None where it gave none.
    """

    request_id: str | None = None


class CallerError(RemotefsError):
    """The request cannot be carried out on this tree."""


class NotFound(CallerError):
    """ENOENT."""


class AlreadyExists(CallerError):
    """EEXIST."""


class NotADirectory(CallerError):
    """ENOTDIR."""


class IsADirectory(CallerError):
    """EISDIR."""


class DirectoryNotEmpty(CallerError):
    """ENOTEMPTY."""


class NotPermitted(CallerError):
    """EPERM."""


class AccessDenied(CallerError):
    """EACCES."""


class NotReadable(AccessDenied):
    """The bytes are neither here nor downloadable (R2)."""


class InvalidArgument(CallerError):
    """EINVAL."""


class NameTooLong(CallerError):
    """ENAMETOOLONG."""


class BadName(CallerError):
    """EILSEQ: not UTF-8."""


class NoAttribute(CallerError):
    """ENODATA."""


class AttributeTooBig(CallerError):
    """ENOSPC or ERANGE of extended attributes: more than a file may carry."""


class FileTooBig(CallerError):
    """EFBIG: more than the service takes."""


class TooManyLinks(CallerError):
    """EMLINK."""


class Unsupported(CallerError):
    """EOPNOTSUPP."""


class UsageError(RemotefsError):
    """A flag, a setting or a mountpoint that cannot be; commands print it and exit with 2."""


class RefusedError(RemotefsError):
    """The service answered, and its answer is no.

    `status` is the HTTP status; `type` and `error_code` are the envelope's, None where it had none.
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
    """400."""


class StorageQuotaExceeded(BadRequest):
    """400 `storage_quota_exceeded` (older servers: 403)."""


class NotDownloadable(BadRequest):
    """400 `file_not_downloadable`."""


class AuthenticationFailed(RefusedError):
    """401: the key is wrong or missing."""


class BillingProblem(RefusedError):
    """402."""


class PermissionRefused(RefusedError):
    """403."""


class RemoteNotFound(RefusedError):
    """404."""


class FileExpired(RemoteNotFound):
    """404 `file_expired`."""


class Conflict(RefusedError):
    """409."""


class TooLarge(RefusedError):
    """413, from the service or from a proxy before it."""


class RateLimited(RefusedError):
    """429."""


class SpendCapReached(RateLimited):
    """429 that does not clear by waiting: no `retry-after` came with it."""


class ServerFailure(RefusedError):
    """5xx: whether it was carried out is not known."""


class Overloaded(ServerFailure):
    """503 and 529: certainly not carried out."""


class TransportError(RemotefsError):
    """No answer, or not a whole one."""


class Unreachable(TransportError):
    """Nothing was carried out: no connection was made, or it broke before all of the request was sent."""


class AmbiguousOutcome(TransportError):
    """The request went out and its outcome is not known (W6)."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class MisansweredUpload(AmbiguousOutcome):
    """The reply to an upload is about a file that cannot be the one that was sent (W6)."""


class ReplyBroken(TransportError):
    """The answer was cut short or cannot be: broken JSON, an id that is none, a cursor that repeats."""


class LengthDiffers(ReplyBroken):
    """The content is not as long as it was listed (R6); `actual_bytes` is None where only that is known.

    `in_body`: only the end of a body showed it, so that bytes of it may have been handed out before.
    """

    def __init__(self, file_id: str, listed_bytes: int, actual_bytes: int | None, *, in_body: bool = False) -> None:
        told = "longer" if actual_bytes is None else f"{actual_bytes} bytes long"
        super().__init__(f"{file_id}: it was listed with {listed_bytes} bytes and is {told}")
        self.file_id = file_id
        self.listed_bytes = listed_bytes
        self.actual_bytes = actual_bytes
        self.in_body = in_body


class DeadlineExceeded(TransportError):
    """The time given for it passed."""


class NotAsked(Unreachable):
    """The service cannot be reached, as others have found out: the request is not sent (R7)."""


class SilentService(DeadlineExceeded):
    """The service sends nothing, as others have found out: the caller does not wait for it (R7)."""


class CorruptionError(RemotefsError):
    """Bytes on this disk are not the ones that were put there (R3)."""


class StaleError(RemotefsError):
    """ESTALE: the remote file went away under an open handle (R4)."""


class IntentGone(RemotefsError):
    """The row of an intent is not there any more: it was carried out, or cancelled, since it was read."""


class LocalError(RemotefsError):
    """This machine is in the way."""


class OutOfSpace(LocalError):
    """ENOSPC: the disk under the state folder, or a quota on it, is full."""


class StateLocked(LocalError):
    """Another process uses this state folder."""


class StateUnusable(LocalError):
    """The state folder cannot be read, is from a newer version, or lies where locks do not work."""


class AccountError(RemotefsError):
    """The state folder belongs to another account (S1)."""
