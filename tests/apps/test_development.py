"""Developing on a mount: git, make, a virtual environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.apps.conftest import Desk
from tests.mount.support import shell

_HISTORY = """
git init -q -b main project; cd project
git config user.name nobody; git config user.email nobody@example.org
mkdir -p src/deep docs
for n in 1 2 3 4; do
    for f in src/a.c src/b.c src/deep/c.c docs/read.me; do echo "$f as of $n" >> $f; done
    git add .; git commit -qm "change $n"
done
git mv docs/read.me README; ln -s src/a.c link; chmod +x src/b.c; git add .; git commit -qm 'move, link, mode'
git tag -a v1 -m first; git checkout -qb topic; echo topic >> src/deep/c.c; git commit -qam topic; git checkout -q main
"""


@pytest.fixture
def project(desk: Desk, tmp_path: Path) -> Path:
    """A repository on the disk."""
    shell(_HISTORY, tmp_path, env=desk.env)
    return tmp_path / "project"


_FACTS = "git fsck --full --strict; git log --format='%H %s'; git status --porcelain; git ls-files -s"


def test_git_clones_into_the_mount_and_out_of_it(desk: Desk, project: Path, tmp_path: Path) -> None:
    desk.shell(f"git clone -q file://{project} in; git clone -q --no-local in again")
    shell(
        f"git clone -q {desk.folder}/in out; git clone -q --bare file://{desk.folder}/again bare.git",
        tmp_path,
        env=desk.env,
    )

    facts = shell(_FACTS, tmp_path / "out", env=desk.env)
    assert "move, link, mode" in facts
    assert desk.shell(f"cd in; {_FACTS}") == desk.shell(f"cd again; {_FACTS}")
    assert shell("git ls-files -s", project, env=desk.env) in facts
    assert (desk.folder / "in" / "link").read_text() == (project / "src/a.c").read_text()


@pytest.mark.long
def test_git_works_and_packs(desk: Desk, project: Path) -> None:
    desk.shell(f"git clone -q {project} work")
    before = desk.shell("cd work; git rev-parse HEAD^{tree}")
    desk.shell(
        "cd work; git config user.name nobody; git config user.email nobody@example.org; "
        "echo more >> src/a.c; git stash -q; git stash pop -q; git commit -qam more; git merge -q -m merge origin/topic; "
        "git checkout -qb side HEAD~1; echo side >> README; git commit -qam side; git rebase -q main; git gc -q --prune=now; "
        "git worktree add -q ../tree HEAD~1"
    )

    assert desk.shell(f"cd work; git fsck --full --strict; git cat-file -t {before}").split() == ["tree"]
    assert len(list((desk.folder / "work/.git/objects/pack").glob("*.pack"))) == 1
    assert desk.shell("cd tree; git status --porcelain; cd ../work; git status --porcelain") == ""
    desk.shell("git -C work worktree remove ../tree; rm -r work")
    assert desk.names() == set()


_SOURCES = {
    "greet.h": "const char *greeting(void);\n",
    "greet.c": '#include "greet.h"\nconst char *greeting(void) { return "hello"; }\n',
    "main.c": '#include <stdio.h>\n#include "greet.h"\nint main(void) { puts(greeting()); return 0; }\n',
    "Makefile": "CFLAGS = -g -O1\n"
    "program: main.o libgreet.a\n\t$(CC) -o $@ main.o -L. -lgreet\n"
    "libgreet.a: greet.o\n\t$(AR) rcs $@ $^\n"
    "main.o greet.o: greet.h\n"
    "clean:\n\trm -f *.o *.a program\n",
}


def test_make_builds_what_is_out_of_date(desk: Desk) -> None:
    for name, text in _SOURCES.items():
        (desk.folder / name).write_text(text)
    desk.shell("make -j2")
    assert desk.shell("./program") == "hello\n"
    assert "up to date" in desk.shell("make")

    desk.shell("sed -i s/hello/goodbye/ greet.c; make")
    assert desk.shell("./program") == "goodbye\n"
    desk.shell("touch greet.h")
    assert "main.c" in desk.shell("make -n")
    desk.shell("make clean")
    assert desk.names() == _SOURCES.keys()


# With pip it is some 1,300 files, each of which `close` brings to the service.
@pytest.mark.parametrize(
    "flags", [["--without-pip"], pytest.param([], marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_a_virtual_environment(desk: Desk, flags: list[str]) -> None:
    (desk.folder / "module.py").write_text("def answer():\n    return 42\n")
    subprocess.run([sys.executable, "-m", "venv", *flags, desk.folder / "venv"], check=True, env=desk.env)
    script = "import sys, module; print(sys.prefix != sys.base_prefix, module.answer())"
    if not flags:
        desk.shell("venv/bin/python -m pip --version")

    assert desk.shell(f"venv/bin/python -c '{script}'") == "True 42\n"
    assert [path.name.split(".")[0] for path in (desk.folder / "__pycache__").iterdir()] == ["module"]
