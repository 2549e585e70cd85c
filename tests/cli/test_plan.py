"""From the words of `remotefs mount` to what is mounted, here and in the process in the background."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.cli.launch.mount_options import MountOptions
from remotefs.cli.launch.plan import MountArgs, absolute, decode_args
from remotefs.errors import UsageError
from remotefs.setting_sources import RENAMED, load

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe = st.none() | words
orders = st.builds(
    MountArgs, mountpoint=words, local=st.booleans(), local_root=maybe, state_dir=maybe, base_url=maybe,
    durability=st.sampled_from([None, "remote", "local", "strict"]), options=st.lists(words, max_size=3).map(tuple),
    config_file=maybe, profile=maybe,
)  # fmt: skip


@given(orders)
def test_an_order_survives_being_handed_to_the_child(order: MountArgs) -> None:
    assert decode_args(order.encode()) == order


def test_flags_win_over_the_environment_and_keys_come_from_it_alone() -> None:
    order = MountArgs(mountpoint="/mnt", base_url="http://flag", options=("ro",), state_dir="/state")
    environ = {"ANTHROPIC_BASE_URL": "http://environment", "ANTHROPIC_API_KEY": "sk-hush"}
    request = order.plan(environ)
    assert request.config.service.base_url == "http://flag"
    assert request.options == MountOptions(read_only=True)
    assert (request.mountpoint, request.state_dir, request.local_root) == (Path("/mnt"), Path("/state"), None)
    assert request.config.service.api_key is not None
    assert "sk-hush" not in order.encode()


def test_a_local_server_has_a_folder_of_its_own_unless_it_is_told() -> None:
    assert MountArgs(mountpoint="/mnt", local=True, local_root="/files").plan({}).local_root == Path("/files")
    assert MountArgs(mountpoint="/mnt", local=True).plan({}).local_root is not None


@pytest.mark.parametrize("order", [
    MountArgs(mountpoint="/mnt", local=True, base_url="http://x"),
    MountArgs(mountpoint="/mnt", local_root="/files"),
    MountArgs(mountpoint="/mnt", options=("bogus",)),
    MountArgs(mountpoint="/mnt", config_file="/missing.toml"),
])  # fmt: skip
def test_what_cannot_be_is_refused(order: MountArgs) -> None:
    with pytest.raises(UsageError):
        order.plan({})


def test_a_path_that_no_answer_could_tell_is_refused() -> None:
    assert absolute(None) is None
    assert absolute(Path("/ü")) == "/ü"
    with pytest.raises(UsageError, match="not UTF-8"):
        absolute(Path(os.fsdecode(b"/\xff")))


@pytest.mark.parametrize(("section", "former"), sorted(RENAMED))
@pytest.mark.parametrize("source", ["file", "environment"])
def test_a_setting_keeps_its_former_name_with_a_warning(tmp_path: Path, section: str, former: str, source: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[{section}]\n{former} = 7\n" if source == "file" else "")
    environ = {f"REMOTEFS_{section}_{former}".upper(): "7"} if source == "environment" else {}
    present, warnings = RENAMED[section, former], list[str]()
    assert getattr(getattr(load(environ, file, {}, warnings.append), section), present) == 7
    place = f"{file}, line 2" if source == "file" else next(iter(environ))
    assert warnings == [f"{place}: {section}.{former} has the name {present} now; please change it"]


def test_the_present_name_of_a_setting_wins_over_the_former(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[writeback]\nupload_delay_s = 1\nsettle_s = 7\n")
    assert load({}, tmp_path / "config.toml", {}).writeback.upload_delay_s == 1


def test_words_of_o_are_as_good_as_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = MountArgs(mountpoint="/mnt", options=("config=c.toml,state_dir=s", "durability=local,base_url=http://x"))
    assert args.with_words() == msgspec.structs.replace(
        args,
        config_file=str(tmp_path / "c.toml"),
        state_dir=str(tmp_path / "s"),
        durability="local",
        base_url="http://x",
    )
    # The process in the background, in another folder, reads the same again.
    assert decode_args(args.with_words().encode()) == args.with_words()


def test_a_flag_and_a_word_that_differ_are_refused() -> None:
    same = MountArgs(mountpoint="/mnt", base_url="http://x", options=("base_url=http://x",))
    assert same.with_words() == same
    with pytest.raises(UsageError, match=r"--base-url says http://y and -o says http://x"):
        msgspec.structs.replace(same, base_url="http://y").with_words()
