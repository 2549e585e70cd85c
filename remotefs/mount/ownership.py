"""Whose files a state folder is about, and what a reply says to that (S1): one pure decision, and its keeper.

An account is (organization, workspace), as the replies name it. What they do not name, the address of the service
stands for. A state folder that another account answers for would be emptied file by file, so in doubt it is refused:
`remotefs accept-account` is there for an address that changes by right.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from remotefs.api.connectivity import Connectivity
from remotefs.api.models import Account
from remotefs.errors import AccountError
from remotefs.store.meta import Facts, Meta

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Owner:
    """Whose a state folder is, as far as it is known; `address` is where the service was that answered last."""

    organization: str | None = None
    workspace: str | None = None
    address: str | None = None
    # It had an owner, and nothing says whom: no answer shows that it is the same.
    is_lost: bool = False

    @classmethod
    def of(cls, facts: Facts) -> Owner:
        """Return the owner that a state folder remembers."""
        return cls(facts.organization, facts.workspace, facts.base_url, facts.owner_lost)

    @property
    def is_named(self) -> bool:
        """Return whether replies have named it."""
        return self.organization is not None or self.workspace is not None

    def describe(self) -> str:
        """Return it in a few words."""
        if self.is_lost:
            return "an account whose record was lost"
        if not self.is_named:
            return f"the service at {self.address}, whose replies name no account" if self.address else "nobody yet"
        names = f"organization {self.organization}" if self.organization else "an organization that is not named"
        names += f", workspace {self.workspace}" if self.workspace else ""
        return f"{names}, at {self.address}" if self.address else names

    def merged_with(self, answer: Owner) -> Owner:
        """Return what is known once the folder has moved on to what answers now."""
        return Owner(
            self.organization or answer.organization, self.workspace or answer.workspace, answer.address or self.address
        )


def address_of(base_url: str) -> str:
    """Return a base URL so that two spellings of one address are equal; without a name or a password in it."""
    parts = urlsplit(base_url.strip().rstrip("/").removesuffix("/v1"))
    host = parts.hostname or ""
    port = parts.port if parts.port != _DEFAULT_PORTS.get(parts.scheme.lower()) else None
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme.lower()}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def judge(owner: Owner, answer: Owner) -> Owner | None:
    """Return whose the folder is now that a reply has come from `answer`; None where that is another's.

    the folder knows                the reply names    it is the folder's
    nothing                         anything           yes, from now on
    that its owner is lost          anything           never
    an address alone                nothing, or all    where the address is the same; the names are kept then
    an organization                 another            never
    an organization                 nothing            where the address is the same
    organization and workspace      no workspace       where the address is the same, or none was kept
    organization and workspace      another workspace  never
    an organization, no workspace   a workspace        never: it has files of its own
    """
    if owner == Owner():
        return answer
    is_same_place = owner.address is not None and owner.address == answer.address
    organization = _agree(owner.organization, answer.organization, silence_is_consent=is_same_place)
    if not organization or (owner.is_named and owner.workspace is None and answer.workspace is not None):
        return None
    may_be_silent = is_same_place or owner.address is None
    if owner.workspace and not _agree(owner.workspace, answer.workspace, silence_is_consent=may_be_silent):
        return None
    return owner.merged_with(answer)


def is_elsewhere(owner: Owner, base_url: str) -> bool:
    """Return whether no reply from there can show that it is the owner's: an address alone is known, or nothing is."""
    if owner.is_lost:
        return True
    return not owner.is_named and owner.address is not None and owner.address != address_of(base_url)


def contradicts(owner: Owner, answer: Owner) -> bool:
    """Return whether both name an account and not the same one: then the folder cannot be bound to it."""
    pairs = ((owner.organization, answer.organization), (owner.workspace, answer.workspace))
    return any(one is not None and other is not None and one != other for one, other in pairs)


def _agree(one: str | None, other: str | None, *, silence_is_consent: bool) -> bool:
    return silence_is_consent if one is None or other is None else one == other


class AccountGuard:
    """Compares every new account that replies name with the owner of the state folder."""

    def __init__(self, meta: Meta, connectivity: Connectivity, base_url: str, state_dir: str) -> None:
        self._meta = meta
        self._connectivity = connectivity
        self._base_url = base_url
        self._state_dir = state_dir

    def check_address(self) -> None:
        """Raise AccountError if the address alone shows that the account is another; no request is sent."""
        owner = Owner.of(self._meta.facts)
        if is_elsewhere(owner, self._base_url):
            raise self._refusal(owner, Owner(address=address_of(self._base_url)))

    def check(self, account: Account, success: bool) -> None:
        """Take the first account that a success names for the owner; of any other, stop all intents.

        A refusal only shows another account, never whose the folder is: it may be for that. Raises AccountError.
        """
        owner = Owner.of(self._meta.facts)
        answer = Owner(account.organization, account.workspace, address_of(self._base_url))
        known = judge(owner, answer)
        if known is None:
            error = self._refusal(owner, answer)
            self._connectivity.suspend(error)
            raise error
        if not success:
            return
        if known != owner:
            record_owner(self._meta, known)
        else:
            self._meta.note_account()
        self._connectivity.vouch()

    def _refusal(self, owner: Owner, answer: Owner) -> AccountError:
        advice = "use a key of the first, or another --state-dir"
        if owner.is_lost:
            advice = f"if these are its files, `remotefs accept-account --state-dir {self._state_dir}`"
        elif not contradicts(owner, answer):
            advice = (
                "use the first, or another --state-dir; if it has moved, "
                f"`remotefs accept-account --state-dir {self._state_dir}`"
            )
        return AccountError(
            f"{self._state_dir} belongs to {owner.describe()}, but {answer.describe()} answers: {advice}"
        )


def record_owner(meta: Meta, owner: Owner) -> None:
    """Remember whose a state folder is."""
    meta.record(
        organization=owner.organization, workspace=owner.workspace, base_url=owner.address, owner_lost=owner.is_lost
    )
    meta.note_account()
