"""Whose a state folder is, and what each reply says to that (S1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from remotefs.api.connectivity import Connectivity
from remotefs.api.models import Account
from remotefs.errors import AccountError
from remotefs.mount.ownership import AccountGuard, Owner, address_of, contradicts, is_elsewhere, judge, record_owner
from remotefs.store.database import Database
from remotefs.store.meta import Meta

HERE, THERE = "https://files.test", "https://elsewhere.test"
FRESH = Owner()
URL = Owner(None, None, HERE)
ORG = Owner("org", None, HERE)
OLD_ORG = Owner("org", None, None)
FULL = Owner("org", "ws", HERE)
OLD_FULL = Owner("org", "ws", None)

OWNERS = [Owner(*names) for names in itertools.product([None, "org", "org2"], [None, "ws", "ws2"], [None, HERE, THERE])]
ANSWERS = [owner for owner in OWNERS if owner.address is not None]


@pytest.mark.parametrize(
    ("owner", "answer", "known"),
    [
        # Nothing is known: whoever answers.
        (FRESH, Owner(None, None, HERE), URL),
        (FRESH, Owner("org", None, HERE), ORG),
        (FRESH, Owner("org", "ws", HERE), FULL),
        # Only an address is known.
        (URL, Owner(None, None, HERE), URL),
        (URL, Owner(None, None, THERE), None),
        (URL, Owner("org", None, HERE), ORG),
        (URL, Owner("org", "ws", HERE), FULL),
        (URL, Owner("org", "ws", THERE), None),
        # An organization is known.
        (ORG, Owner("org", None, HERE), ORG),
        (ORG, Owner("org", None, THERE), Owner("org", None, THERE)),
        (ORG, Owner("org2", None, HERE), None),
        (ORG, Owner(None, None, HERE), ORG),
        (ORG, Owner(None, None, THERE), None),
        (ORG, Owner("org", "ws", HERE), None),
        (ORG, Owner("org", "ws", THERE), None),
        # A workspace too.
        (FULL, Owner("org", "ws", HERE), FULL),
        (FULL, Owner("org", "ws", THERE), Owner("org", "ws", THERE)),
        (FULL, Owner("org", "ws2", HERE), None),
        (FULL, Owner("org2", "ws", HERE), None),
        (FULL, Owner("org", None, HERE), FULL),
        (FULL, Owner("org", None, THERE), None),
        (FULL, Owner(None, "ws", HERE), FULL),
        (FULL, Owner(None, None, HERE), FULL),
        (FULL, Owner(None, None, THERE), None),
        # As older versions kept it, without the address.
        (OLD_ORG, Owner("org", None, THERE), Owner("org", None, THERE)),
        (OLD_ORG, Owner("org2", None, THERE), None),
        (OLD_ORG, Owner(None, None, THERE), None),
        (OLD_FULL, Owner("org", None, HERE), FULL),
        (OLD_FULL, Owner(None, None, HERE), None),
    ],
    ids=lambda owner: "/".join(map(str, (owner.organization, owner.workspace, owner.address))) if owner else "refused",
)  # fmt: skip
def test_s1_each_case(owner: Owner, answer: Owner, known: Owner | None) -> None:
    assert judge(owner, answer) == known


@pytest.mark.parametrize("owner", OWNERS)
def test_s1_what_holds_for_all(owner: Owner) -> None:
    for answer in ANSWERS:
        known = judge(owner, answer)
        if owner.is_named and contradicts(owner, answer):
            assert known is None
        if known is None:
            assert owner != answer
            continue
        assert known.address == answer.address
        assert not contradicts(known, answer), "it can be mounted again as it is"
        assert judge(known, answer) == known
        if owner != FRESH:
            assert not contradicts(known, owner), "what was known stays so"
        if owner != FRESH and owner.address != answer.address:
            assert owner.organization is not None, "an address that differs needs an account that is the same"
            assert owner.organization == answer.organization


@pytest.mark.parametrize("owner", OWNERS)
def test_s1_where_the_address_alone_tells_no_reply_is_needed(owner: Owner) -> None:
    for place in (HERE, THERE):
        if is_elsewhere(owner, place):
            answers = [answer for answer in ANSWERS if answer.address == place]
            assert [judge(owner, answer) for answer in answers] == [None] * len(answers)


def test_s1_the_address_alone_tells_where_nothing_else_is_known() -> None:
    elsewhere = [owner for owner in OWNERS if is_elsewhere(owner, THERE)]
    assert elsewhere == [Owner(None, None, HERE)]


@pytest.mark.parametrize(
    "spelling",
    [
        "https://files.test/",
        "HTTPS://Files.Test",
        "https://files.test:443",
        "https://files.test/v1",
        " https://files.test/v1/",
    ],
)
def test_one_address_has_one_spelling(spelling: str) -> None:
    assert address_of(spelling) == HERE


@pytest.mark.parametrize("other", ["http://files.test", "https://files.test:8443", "https://files.test/proxy", THERE])
def test_two_addresses_have_two(other: str) -> None:
    assert address_of(other) != HERE
    assert address_of("http://[::1]:80/a") == "http://[::1]/a"


@pytest.fixture
def connectivity() -> Connectivity:
    return Connectivity(vouched=False)


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[Meta]:
    with closing(Database(tmp_path / "state.db")) as database:
        yield Meta(database)


def test_s1_a_refusal_names_nobodys_folder(meta: Meta, connectivity: Connectivity) -> None:
    """It may be refused because the key is of the wrong account."""
    keeper = AccountGuard(meta, connectivity, HERE, "the folder")
    keeper.check(Account("org2", None), False)
    assert (Owner.of(meta.facts), connectivity.is_trusted) == (FRESH, False)
    keeper.check(Account("org", None), True)
    assert (Owner.of(meta.facts), connectivity.is_trusted) == (ORG, True)


def test_s1_a_refusal_of_another_account_stops_everything(meta: Meta, connectivity: Connectivity) -> None:
    keeper = AccountGuard(meta, connectivity, HERE, "the folder")
    keeper.check(Account("org", None), True)
    with pytest.raises(AccountError, match="use a key of the first"):
        keeper.check(Account("org2", None), False)
    assert not connectivity.is_up
    assert not connectivity.is_trusted


def test_s1_what_only_may_be_the_same_is_told_how_to_move_on(meta: Meta, connectivity: Connectivity) -> None:
    keeper = AccountGuard(meta, connectivity, HERE, "the folder")
    keeper.check(Account(None, None), True)
    assert Owner.of(meta.facts) == URL
    elsewhere = AccountGuard(meta, connectivity, THERE, "the folder")
    for refused in (elsewhere.check_address, lambda: elsewhere.check(Account("org", None), True)):
        with pytest.raises(AccountError, match=r"accept-account --state-dir the folder"):
            refused()


def test_s1_a_folder_whose_owner_is_lost_waits_for_a_person(meta: Meta, connectivity: Connectivity) -> None:
    meta.record(owner_lost=True)
    keeper = AccountGuard(meta, connectivity, HERE, "the folder")
    for refused in (keeper.check_address, lambda: keeper.check(Account("org", "ws"), True)):
        with pytest.raises(AccountError, match=r"record was lost.*accept-account --state-dir the folder"):
            refused()
    assert not connectivity.is_trusted
    record_owner(meta, Owner.of(meta.facts).merged_with(FULL))
    AccountGuard(meta, Connectivity(vouched=False), HERE, "the folder").check(Account("org", "ws"), True)
    assert Owner.of(meta.facts) == FULL
