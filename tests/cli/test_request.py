"""From the words of `remotefs mount` to what is mounted, here and in the process in the background."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.cli.launch.mount_options import MountOptions
from remotefs.cli.launch.request import MountOrder, absolute, decode_order
from remotefs.errors import UsageError

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe = st.none() | words
orders = st.builds(
    MountOrder, mountpoint=words, local=st.booleans(), local_root=maybe, state_dir=maybe, base_url=maybe,
    durability=st.sampled_from([None, "remote", "local", "strict"]), options=st.lists(words, max_size=3).map(tuple),
    config_file=maybe,
)  # fmt: skip


@given(orders)
def test_an_order_survives_being_handed_to_the_child(order: MountOrder) -> None:
    assert decode_order(order.encode()) == order


def test_flags_win_over_the_environment_and_keys_come_from_it_alone() -> None:
    order = MountOrder(mountpoint="/mnt", base_url="http://flag", options=("ro",), state_dir="/state")
    environ = {"ANTHROPIC_BASE_URL": "http://environment", "ANTHROPIC_API_KEY": "sk-hush"}
    request = order.request(environ)
    assert request.config.service.base_url == "http://flag"
    assert request.options == MountOptions(read_only=True)
    assert (request.mountpoint, request.state_dir, request.local_root) == (Path("/mnt"), Path("/state"), None)
    assert request.config.service.api_key is not None
    assert "sk-hush" not in order.encode()


def test_a_local_server_has_a_folder_of_its_own_unless_it_is_told() -> None:
    assert MountOrder(mountpoint="/mnt", local=True, local_root="/files").request({}).local_root == Path("/files")
    assert MountOrder(mountpoint="/mnt", local=True).request({}).local_root is not None


@pytest.mark.parametrize("order", [
    MountOrder(mountpoint="/mnt", local=True, base_url="http://x"),
    MountOrder(mountpoint="/mnt", local_root="/files"),
    MountOrder(mountpoint="/mnt", options=("bogus",)),
    MountOrder(mountpoint="/mnt", config_file="/missing.toml"),
])  # fmt: skip
def test_what_cannot_be_is_refused(order: MountOrder) -> None:
    with pytest.raises(UsageError):
        order.request({})


def test_a_path_that_no_answer_could_tell_is_refused() -> None:
    assert absolute(None) is None
    assert absolute(Path("/ü")) == "/ü"
    with pytest.raises(UsageError, match="not UTF-8"):
        absolute(Path(os.fsdecode(b"/\xff")))
