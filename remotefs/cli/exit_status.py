"""Turns an exception into a line for a person and an exit status."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from remotefs.errors import RemotefsError, UsageError

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2
# A drain or a flush ended with work left; it goes on with the mount, or with the next one.
EXIT_WORK_LEFT = 3
# 128 + SIGINT, as shells count.
EXIT_INTERRUPTED = 130


def sole_error(error: BaseException) -> BaseException:
    """Return the one error of a group that counts: an interruption, else an internal error, else the first."""
    leaves = list(leaves_of(error))
    unforeseen = (leaf for leaf in leaves if not isinstance(leaf, RemotefsError | OSError))
    interrupted = (leaf for leaf in leaves if isinstance(leaf, KeyboardInterrupt))
    return next(interrupted, None) or next(unforeseen, None) or leaves[0]


def sentence(error: BaseException) -> str:
    """Return the sentence for a person; it marks an error that remotefs does not raise on purpose as internal."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, RemotefsError | OSError):
        return str(error) or type(error).__name__
    return f"internal error, {type(error).__name__}: {error} (REMOTEFS_DEBUG=1 shows where)"


def exit_status(error: BaseException) -> int:
    """Return the exit status of a command that ends with this error."""
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED


def record(error: BaseException) -> None:
    """Write the error to the log where there is one, an internal error with its traceback."""
    if logging.getLogger().handlers:
        unforeseen = not isinstance(error, RemotefsError | OSError | KeyboardInterrupt)
        log.error("%s", sentence(error), exc_info=error if unforeseen else None)


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group and of the groups in it; an error that is no group alone."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves_of(inner)
    else:
        yield error
