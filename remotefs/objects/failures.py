"""The exceptions of this project for the failures of stores: of files, and of obstore."""

from __future__ import annotations

import errno
import re

from remotefs.errors import (
    ObjectMissing,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnreachable,
    ObjectStoreUnusable,
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
# What a network folder says when its server does not answer.
_AWAY = frozenset({
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH,
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EREMOTEIO, errno.ESHUTDOWN, errno.ENXIO,
})  # fmt: skip
# How obstore tells of a status, and of the code of an S3 error: as its body has it, and for one of several keys.
_STATUS = re.compile(r"status(?: code)?: (\d{3})\b")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>|\(code: (\w{1,64})\)")
_ADDRESS = re.compile(r"\w+://\S*")
_SHOWN_CHARACTERS = 160
# The address of the credentials of a cloud's machines.
_METADATA_ADDRESS = "169.254.169.254"
_ABSENT_STATUS = 404
_TRY_LATER = frozenset({408, 425, 429})
# By name: this module does without obstore.
_DENIED_KINDS = frozenset({"PermissionDeniedError", "UnauthenticatedError"})
_DENIED_STATUS = frozenset({401, 403})
# Of an upload in parts that the store gave up meanwhile: the next try begins anew.
_GIVEN_UP = "NoSuchUpload"


def of_file(error: OSError, place: str) -> ObjectStoreError:
    """Return the exception for a failed file call on the object at `place`."""
    said = error.strerror or str(error)
    if error.errno in _ABSENT:
        return missing(place)
    if error.errno in _DENIED:
        return ObjectStoreDenied(f"{place}: the shared store refuses access ({said}): check the rights on the folder")
    if error.errno in _FULL:
        return ObjectStoreError(f"{place}: the shared store has no room ({said})")
    if error.errno in _AWAY:
        return _unreachable(place, said)
    return ObjectStoreError(f"{place}: the shared store failed ({said})")


def of_library(error: BaseException, place: str) -> ObjectStoreError:
    """Return the exception for an error of obstore about the object at `place`.

    Of its text only the status and the code of the reply get out, or what is neither an address nor a body.
    """
    text, status = str(error), status_of(error)
    code = (found[1] or found[2]) if (found := _CODE.search(text)) else ""
    said = " ".join(part for part in (str(status or ""), code) if part) or _summary(text)
    if code == "NoSuchBucket":
        return no_bucket(place)
    if (isinstance(error, FileNotFoundError) or status == _ABSENT_STATUS) and code != _GIVEN_UP:
        return missing(place)
    if _METADATA_ADDRESS in text:
        return ObjectStoreDenied(
            f"{place}: no credentials for the shared store: set the variables of its cloud, such as AWS_ACCESS_KEY_ID"
        )
    if "BadScheme" in text:
        return ObjectStoreUnusable(f"{place}: the shared store is at an http:// address: set AWS_ALLOW_HTTP=true")
    if type(error).__name__ in _DENIED_KINDS or status in _DENIED_STATUS or "Denied" in code:
        return ObjectStoreDenied(
            f"{place}: the shared store refuses access ({said}): check its credentials and their rights"
        )
    if status >= 500 or status in _TRY_LATER or code == _GIVEN_UP:
        return _unreachable(place, said)
    if status == 0 and ("HTTP error" in text or "RetryError" in text or isinstance(error, OSError)):
        return _unreachable(place, "no connection, or no whole answer in time")
    return ObjectStoreError(f"{place}: the shared store failed ({said})")


def status_of(error: BaseException) -> int:
    """Return the HTTP status that an error of obstore tells of, 0 if it tells of none."""
    return int(found[1]) if (found := _STATUS.search(str(error))) else 0


def missing(place: str) -> ObjectMissing:
    """Return the exception for an object that is absent."""
    return ObjectMissing(f"{place}: the shared store has no such object")


def no_bucket(place: str) -> ObjectStoreUnusable:
    """Return the exception for a bucket that is absent."""
    return ObjectStoreUnusable(f"{place}: there is no such bucket: make it, or check the address of the shared store")


def _unreachable(place: str, said: str) -> ObjectStoreUnreachable:
    return ObjectStoreUnreachable(f"{place}: the shared store does not answer ({said})")


def _summary(text: str) -> str:
    """Return the first line of an error without addresses, which may be signed, and without the body of a reply."""
    line = text.partition("\n")[0].partition("<")[0]
    return _ADDRESS.sub("…", line)[:_SHOWN_CHARACTERS].strip()
