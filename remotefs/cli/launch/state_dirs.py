"""Chooses the state folder of a mount: one for each account, not for each key (S1).

    DATA/accounts/<slug>/     a state folder: tree, journal, staging, content, lock, log
    DATA/accounts.json        which account a key belongs to, so that a start without the network finds its folder
    DATA/local/               the local server's files, unless --local-root says otherwise

DATA is `remotefs` in the user's data folder. The key itself is written nowhere, only the start of a hash of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import platformdirs

from remotefs.api.models import Account
from remotefs.config import ServiceConfig
from remotefs.control.lock import LOCK_NAME
from remotefs.control.mounts import mount_of, read_mounts, real
from remotefs.errors import StateUnusable, TransportError, Unreachable
from remotefs.store.disk import write_durably

# Shared between machines, or served by us: locks and SQLite's files cannot be trusted there.
REMOTE_FSTYPES = frozenset({"nfs", "nfs4", "cifs", "smb3", "afs", "ceph", "fuse.sshfs", "fuse.rclone", "fuse.remotefs"})
MEMORY_FSTYPES = frozenset({"tmpfs", "ramfs"})
SLUG_CHARACTERS = 60
# Either is in every state folder, and the second in its copies too.
_OURS = frozenset({LOCK_NAME, "state.db"})


Identify = Callable[[], Awaitable[Account]]


class _Book(msgspec.Struct):
    """accounts.json: by fingerprint."""

    accounts: dict[str, Account] = {}


def data_dir() -> Path:
    """Return DATA, which may not exist yet."""
    return platformdirs.user_data_path("remotefs", appauthor=False)


async def locate_state_dir(data: Path, service: ServiceConfig, identify: Identify, *, remember: bool = True) -> Path:
    """Return the folder of the account that the key belongs to; ask the service only for a key that is new here.

    Without `remember` this asks the service each time and writes nothing.

    Raises what `identify` raises; Unreachable, saying what to do, when the service cannot be asked.
    """
    book = data / "accounts.json"
    account = _read(book).accounts.get(fingerprint(service)) if remember else None
    if account is None:
        try:
            account = await identify()
        except TransportError as error:
            raise Unreachable(
                f"{service.base_url} cannot be reached ({error}), and with this key nothing was mounted before; "
                "a first mount needs the network once, or --state-dir of an earlier mount"
            ) from error
        if remember:
            _remember(book, fingerprint(service), account)
    return account_dir(data, account, service.base_url)


def remember_new_key(data: Path, former: ServiceConfig, present: ServiceConfig) -> None:
    """Note that a key is of the account of a former one, so that the next start finds the folder offline too (A2).

    Raises StateUnusable.
    """
    book = data / "accounts.json"
    account = _read(book).accounts.get(fingerprint(former))
    if account is not None:
        _remember(book, fingerprint(present), account)


def account_dir(data: Path, account: Account, base_url: str) -> Path:
    """Return the state folder of `account`; the base URL stands in where the replies name no organization."""
    return data / "accounts" / _folder_name(account, base_url)


def folders_by_name(data: Path) -> dict[str, tuple[Path, ...]]:
    """Return the state folders of accounts on this machine by every name that one has.

    That is the name of the folder, and where the service has named the account `ORGANIZATION` and
    `ORGANIZATION/WORKSPACE`. The organization alone may stand for several.
    """
    accounts = data / "accounts"
    found = {path.name: {path} for path in accounts.iterdir() if path.is_dir()} if accounts.is_dir() else {}
    for key, account in _read(data / "accounts.json").accounts.items():
        folder = account_dir(data, account, key.split(" ")[0])
        if account.organization is not None and folder.is_dir():
            for name in {account.organization, "/".join(filter(None, (account.organization, account.workspace)))}:
                found.setdefault(name, set()).add(folder)
    return {name: tuple(sorted(folders)) for name, folders in found.items()}


def fingerprint(service: ServiceConfig) -> str:
    """Return what decides the account: the base URL, the workspace, and the key, of which only a hash is shown."""
    secret = service.api_key or service.auth_token
    key = hashlib.sha256((secret.reveal() if secret else "").encode()).hexdigest()[:16]
    return " ".join([service.base_url.rstrip("/"), service.workspace_id or "-", key])


def prepare_state_dir(path: Path) -> str | None:
    """Make the folder (0700) or check that it can be used; returns a warning, if there is one.

    Raises StateUnusable: it is a file, somebody else's, full of other things, not to be written, or on a shared
    file system.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_ours(path)
        path.chmod(0o700)
    except (FileExistsError, NotADirectoryError) as error:
        raise StateUnusable(f"the state folder {path} is, or lies below, a file; give --state-dir a folder") from error
    except OSError as error:
        raise StateUnusable(f"the state folder {path} cannot be used: {error.strerror}") from error
    return _check_file_system(path)


def _check_ours(path: Path) -> None:
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise StateUnusable(f"the state folder {path} belongs to user {owner}; give --state-dir one of your own")
    names = {entry.name for entry in path.iterdir()}
    if names and names.isdisjoint(_OURS):
        raise StateUnusable(
            f"{path} is not a state folder of remotefs (it has {min(names)!r}); give --state-dir a new or empty folder"
        )


def _check_file_system(path: Path) -> str | None:
    entry = mount_of(real(path), read_mounts())
    fstype = entry.fstype if entry else "unknown"
    if fstype in REMOTE_FSTYPES:
        raise StateUnusable(
            f"the state folder {path} lies on {fstype}, where locks and the database cannot be trusted; "
            "give --state-dir a folder on a disk of this machine"
        )
    if fstype in MEMORY_FSTYPES:
        return f"the state folder {path} lies on {fstype}: what is not yet uploaded is lost when this machine stops"
    return None


def _folder_name(account: Account, base_url: str) -> str:
    if account.organization is None:
        return f"url={_slug(urlsplit(base_url).netloc, base_url.rstrip('/'))}"
    names = [account.organization, *([account.workspace] if account.workspace else [])]
    return "+".join(_slug(name, name) for name in names)


def _slug(shown: str, whole: str) -> str:
    """Return a safe part of a file name for a name of the service: itself where it is plain, else with a hash."""
    if shown == whole and re.fullmatch(rf"[A-Za-z0-9_-]{{1,{SLUG_CHARACTERS}}}", shown):
        return shown
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", shown)[:SLUG_CHARACTERS]
    return f"{plain}.{hashlib.sha256(whole.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _read(book: Path) -> _Book:
    """Return the known accounts; none where the book cannot be read, so that they are asked for and written again."""
    try:
        return msgspec.json.decode(book.read_bytes(), type=_Book)
    except (OSError, msgspec.DecodeError):
        return _Book()


def _remember(book: Path, key: str, account: Account) -> None:
    """Add one entry; two mounts that start together do not lose each other's."""
    try:
        book.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(book.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read(book)
            known.accounts[key] = account
            write_durably(book, msgspec.json.format(msgspec.json.encode(known)), "accounts")
        finally:
            os.close(lock)
    except OSError as error:
        raise StateUnusable(f"{book} cannot be written: {error.strerror}") from error
