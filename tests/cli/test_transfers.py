"""What `put` and `get` refuse before they do anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from remotefs.cli.main import build_app
from remotefs.errors import UsageError
from tests.transfers.support import write


def refusal(*arguments: object) -> str:
    """Why a command is refused."""
    with pytest.raises(UsageError) as refused:
        build_app([str(arguments[0])])(list(map(str, arguments)), standalone_mode=False)
    return str(refused.value)


def test_a_source_is_not_taken_for_the_destination(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one.pdf", b"1"), write(tmp_path / "two.pdf", b"2")
    assert refusal("put", one, two) == (
        f"{two} is a file of this machine, and the last argument is the destination: name it with --to"
    )


def test_a_destination_is_in_a_mount_or_in_the_tree(tmp_path: Path) -> None:
    one = write(tmp_path / "one.pdf", b"1")
    assert "is not in a remotefs mount" in refusal("put", one, tmp_path / "nowhere")
    assert refusal("put", one, "--to", "a/../../b") == "a/../../b leads out of the tree"
    assert "is not in a remotefs mount" in refusal("get", tmp_path / "nowhere", tmp_path)


def test_a_source_neither_holds_the_state_folder_nor_lies_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-never-sent")
    state = tmp_path / "state"
    assert refusal("put", tmp_path, "--state-dir", state).startswith(f"{tmp_path} holds {state}, where it would go")
    inside = write(state / "x", b"x")
    assert refusal("put", inside, "--state-dir", state).startswith(f"{inside} lies in {state} itself")


def test_words_of_get_that_contradict_each_other(tmp_path: Path) -> None:
    assert "--since" in refusal("get", "--since", "1d", "a", tmp_path)
    assert "--generated" in refusal("get", "--generated", "a", tmp_path)
    assert "at least one ID or PATH" in refusal("get", tmp_path)
