"""Editors, driven as a person drives them."""

from __future__ import annotations

import pytest

from tests.apps.conftest import Desk
from tests.apps.support import terminal

REPLACED = ["upload", "delete"]


@pytest.mark.parametrize("copy", ["yes", "no", "auto"])
def test_vim_with_a_backup(desk: Desk, copy: str) -> None:
    (desk.folder / "text").write_text("first line\nsecond line\n")
    desk.start_counting()
    settings = f"set backup backupskip= backupcopy={copy} nomore"
    with terminal(
        "vim", "-N", "-u", "NONE", "-i", "NONE", "-c", settings, "text", cwd=desk.folder, env=desk.env
    ) as vim:
        vim.wait_for("second line")
        assert ".text.swp" in desk.names()
        vim.type(":%s/first/changed/\r")
        vim.wait_for("changed line")
        vim.type(":w\r")
        vim.wait_for("written")
        vim.type("othird line\x1b:wq\r")
        assert vim.wait_for_end() == 0

    assert (desk.folder / "text").read_text() == "changed line\nthird line\nsecond line\n"
    assert (desk.folder / "text~").read_text() == "changed line\nsecond line\n"
    assert desk.names() == {"text", "text~"}
    desk.requests()
    assert ".text.swp" not in " ".join(desk.uploaded)


def test_vim_as_it_comes_costs_one_upload_and_one_delete(desk: Desk) -> None:
    (desk.folder / "text").write_text("first line\n")
    desk.start_counting()
    with terminal(
        "vim", "-N", "-u", "NONE", "-i", "NONE", "-c", "set writebackup", "text", cwd=desk.folder, env=desk.env
    ) as vim:
        vim.wait_for("first line")
        vim.type("oanother\x1b:x\r")
        assert vim.wait_for_end() == 0

    assert (desk.folder / "text").read_text() == "first line\nanother\n"
    assert desk.requests() == REPLACED


def test_vim_recovers_from_its_swap_file(desk: Desk) -> None:
    (desk.folder / "text").write_text("saved\n")
    vim_command = ("vim", "-N", "-u", "NONE", "-i", "NONE", "text")
    with terminal(*vim_command, cwd=desk.folder, env=desk.env) as vim:
        vim.wait_for("saved")
        vim.type("onever saved\x1b:preserve\r")
        vim.wait_for("preserved")
        vim.process.kill()
        vim.process.wait()
    assert ".text.swp" in desk.names()

    desk.shell("vim -N -u NONE -i NONE -es -r -c 'wq' text </dev/null; rm .text.swp")
    assert (desk.folder / "text").read_text() == "saved\nnever saved\n"


@pytest.mark.parametrize("flags", [(), ("-B",)])
def test_nano(desk: Desk, flags: tuple[str, ...]) -> None:
    (desk.folder / "text").write_text("first line\n")
    desk.start_counting()
    with terminal("nano", "-I", *flags, "text", cwd=desk.folder, env=desk.env) as nano:
        nano.wait_for("first line")
        nano.type("typed ")
        nano.wait_for("typed")
        nano.type("\x0f")
        nano.wait_for("Name to Write")
        nano.type("\r")
        nano.wait_for("Wrote 1 line")
        nano.type("\x18")
        assert nano.wait_for_end() == 0

    assert (desk.folder / "text").read_text() == "typed first line\n"
    assert desk.names() == {"text"} | ({"text~"} if flags else set())
    assert desk.requests().count("upload") == (2 if flags else 1)


def test_sed_in_place(desk: Desk) -> None:
    desk.shell("for i in 1 2 3; do echo old $i > f$i; done")
    desk.start_counting()
    desk.shell("sed -i s/old/new/ f1 f2; sed -i.bak s/old/new/ f3")

    assert desk.shell("cat f1 f2 f3 f3.bak") == "new 1\nnew 2\nnew 3\nold 3\n"
    assert sorted(desk.requests()) == ["delete"] * 3 + ["upload"] * 4
    assert {path.rpartition("/")[2] for path in desk.uploaded} == {"f1", "f2", "f3", "f3.bak"}


def test_perl_and_patch_in_place(desk: Desk) -> None:
    desk.shell("printf 'one\\ntwo\\n' > f; printf 'one\\nTWO\\n' > f.new; diff -u f f.new > d || true; rm f.new")
    desk.start_counting()
    desk.shell("perl -pi -e s/one/ONE/ f; sed -i s/ONE/one/ f; patch -s f d")

    assert (desk.folder / "f").read_text() == "one\nTWO\n"
    assert desk.names() == {"f", "d"}
