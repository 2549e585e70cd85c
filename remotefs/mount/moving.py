"""`remotefs accept-account`: a state folder follows its account to another address; synchronous, for the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from remotefs.config import Config
from remotefs.control.lock import Holder, lock_state
from remotefs.errors import AccountError, NotFound
from remotefs.mount.identity import identify
from remotefs.mount.ownership import Owner, address_of, contradicts, judge, record_owner
from remotefs.store.database import Database
from remotefs.store.meta import Meta


def accept_account(state_dir: Path, config: Config, confirm: Callable[[Owner, Owner], bool]) -> bool:
    """Bind a state folder to the account that answers now, where `confirm(before, after)` says yes.

    Return whether it was bound to another one. Raises NotFound, StateLocked while a mount uses the folder,
    AccountError where replies name an account that is certainly another, and RefusedError or TransportError.
    """
    if not (state_dir / "state.db").exists():
        raise NotFound(f"{state_dir} is not a state folder of remotefs: it has no state.db")
    with lock_state(state_dir, Holder.here(f"nowhere, by a command on {state_dir}")):
        account = trio.run(identify, config)
        answer = Owner(account.organization, account.workspace, address_of(config.service.base_url))
        database = Database(state_dir / "state.db")
        try:
            return _move(Meta(database), answer, state_dir, confirm)
        finally:
            database.close()


def _move(meta: Meta, answer: Owner, state_dir: Path, confirm: Callable[[Owner, Owner], bool]) -> bool:
    owner = Owner.of(meta.facts)
    if contradicts(owner, answer):
        raise AccountError(
            f"{state_dir} belongs to {owner.describe()}, and {answer.describe()} is another account: "
            "its files are not those of this folder; mount it with another --state-dir"
        )
    if judge(owner, answer) is not None or not confirm(owner, answer):
        return False
    record_owner(meta, owner.merged_with(answer))
    return True
