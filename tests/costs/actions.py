"""What people and programs do, each as two parts with a `yield` between them: the preparation, and what is counted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.costs import saves
from tests.costs.scene import COLD_BYTES, Scene

Action = Callable[[Scene], Iterator[None]]
# By the words of docs/requests.md, in its order.
ACTIONS: dict[str, Action] = {}
# The program without which an action cannot be tried.
NEEDS: dict[str, str] = {}


def action(name: str, *, needs: str | None = None) -> Callable[[Action], Action]:
    """Register under the name that the document gives it."""

    def register(steps: Action) -> Action:
        assert name not in ACTIONS
        ACTIONS[name] = steps
        NEEDS.update({name: needs} if needs else {})
        return steps

    return register


def missing(name: str) -> str | None:
    """The program that an action needs and this machine lacks."""
    needed = NEEDS.get(name)
    return needed if needed and not shutil.which(needed) else None


def _shell(name: str, script: str, *, prepare: str = "", twenty: bool = False) -> None:
    """An action that is a line of shell in a folder with `f`, and with `twenty` also 20 files in `tree`."""

    def steps(scene: Scene) -> Iterator[None]:
        scene.write("f")
        if twenty:
            scene.twenty()
        scene.sh(prepare)
        yield
        scene.sh(script)

    action(name)(steps)


# -- looking

_shell("`ls -lR` of 20 files", "ls -lR > /dev/null; ls -la tree", twenty=True)
_shell("`find` of 20 files", "find . -size +0 -newermt 2000-01-01 -printf '%s %p\\n' | wc -l", twenty=True)
_shell("`du`", "du -a .", twenty=True)
_shell("`df`", "df . && df -i .")
_shell("a name that is not there", "! stat absent; ! cat absent; ! ls absent/deeper")
_shell("`getfattr` of the id", "python3 -c \"import os; print(os.getxattr('f', 'user.remotefs.id'))\"")


@action("`git status` in a clone that is up to date", needs="git")
def git_status(scene: Scene) -> Iterator[None]:
    scene.twenty(".")
    # As old as in a checkout that was made a while ago: what is as new as the index is looked at again.
    scene.sh("find . -type f -exec touch -d 2001-01-01 {} +; git init -q .; git add .")
    scene.sh("git -c user.name=n -c user.email=e@example.org commit -qm first; git status")
    yield
    assert "nothing to commit" in scene.sh("git status")


# -- names and attributes

_shell("`chmod`, `touch`", "chmod 600 f; touch f; touch -d 2001-01-01 f")
_shell("`mkdir`, `rmdir`, `mkdir -p`, an empty tree", "mkdir a; rmdir a; mkdir -p b/c/d")
_shell("`ln -s`, `ln`", "ln -s f symbolic; ln f hard")

# -- reading


@action("`cat` of a file that is not here yet")
def cat_cold(scene: Scene) -> Iterator[None]:
    path = scene.other()
    yield
    assert len(path.read_bytes()) == COLD_BYTES


@action("`cat` of it again")
def cat_warm(scene: Scene) -> Iterator[None]:
    path = scene.other()
    path.read_bytes()
    yield
    assert len(path.read_bytes()) == COLD_BYTES


@action("`head -c 4096` of a file that is not here yet")
def look(scene: Scene) -> Iterator[None]:
    path = scene.other()
    yield
    scene.sh(f"head -c 4096 '{path}' > /dev/null")


@action("`head -c 4096`, then `cat`")
def look_and_read(scene: Scene) -> Iterator[None]:
    path = scene.other()
    yield
    scene.sh(f"head -c 4096 '{path}' > /dev/null; cat '{path}' > /dev/null")


_shell("`cat` of what was written here", "cat f tree/*.txt", twenty=True)
_shell("`grep -r` over 20 files written here", "grep -rl first .", twenty=True)

# -- writing

_shell("`cp` of a file into the mount", "cp f copy")
_shell("`echo > new`", "echo new > new")
_shell("`touch new`, an empty file", "touch new")
_shell("`echo > f`, a file of ours", "echo second > f")
_shell("`echo >> f`, a file of ours", "echo second >> f")
_shell("`truncate -s 3 f`", "truncate -s 3 f")
_shell("writing what is there already", 'same=$(cat f); echo "$same" > f')
_shell(
    "another type or expiry, by `setfattr`, of a file of ours",
    "python3 -c \"import os; os.setxattr('f', 'user.remotefs.mime_type', b'text/csv')\"",
)
_shell("`cp -a` of 20 files", "cp -a tree copy", twenty=True)
_shell("a download: `new.part`, written, `mv new.part new`", "echo new > new.part; mv new.part new")


@action("`echo >> f`, a generated file of others")
def edit_of_others(scene: Scene) -> Iterator[None]:
    path = scene.other()
    path.read_bytes()
    yield
    with path.open("ab") as file:
        file.write(b"more")


@action("`rsync -a` of 20 files into the mount", needs="rsync")
def rsync_in(scene: Scene) -> Iterator[None]:
    scene.twenty("source")
    yield
    scene.sh("rsync -a source/ copy")


@action("the same `rsync -a` again", needs="rsync")
def rsync_again(scene: Scene) -> Iterator[None]:
    scene.twenty("source")
    scene.sh("rsync -a source/ copy")
    yield
    assert scene.sh("rsync -ai source/ copy") == ""


@action("`rsync -a` with one of them changed", needs="rsync")
def rsync_changed(scene: Scene) -> Iterator[None]:
    scene.twenty("source")
    scene.sh("rsync -a source/ copy")
    scene.write("source/3.txt", content="a longer second version")
    yield
    scene.sh("rsync -a source/ copy")


# -- renaming

_shell("`mv f g`", "mv f g")
_shell("`mv f g; mv g h; mv h i`", "mv f g; mv g h; mv h i")
_shell("`mv f g; mv g f`", "mv f g; mv g f")
_shell("`mv f g` over a file of ours", "mv f g", prepare="echo there > g")
_shell("`mv` of a folder with 20 files", "mv tree wood", twenty=True)


@action("`mv` before the upload")
def mv_early(scene: Scene) -> Iterator[None]:
    yield
    with (scene.folder / "f").open("w") as file:
        file.write("renamed while it is open")
        file.flush()
        (scene.folder / "f").rename(scene.folder / "g")


@action("`mv` of a file of others")
def mv_of_others(scene: Scene) -> Iterator[None]:
    path = scene.other()
    yield
    path.rename(scene.folder / "mine.bin")


@action("`mv` of a folder with 101 files")
def mv_of_many(scene: Scene) -> Iterator[None]:
    scene.sh("mkdir many; touch many/{1..101}")
    yield
    scene.sh("mv many much")


# -- removing

_shell("`rm f`", "rm f")
_shell("`rm -r` of 20 files", "rm -r tree", twenty=True)
_shell("`rm` of an empty file that was never uploaded", "touch new; rm new")
_shell("`rm` of one of two hard links", "rm hard", prepare="ln f hard")


@action("`rm` of a file of others")
def rm_of_others(scene: Scene) -> Iterator[None]:
    path = scene.other()
    yield
    path.unlink()


# -- saving


def _save(name: str, save: Callable[[Path], None], *, needs: str | None = None) -> None:
    """A program saves a file of ours."""

    def steps(scene: Scene) -> Iterator[None]:
        scene.write("document.txt")
        before = (scene.folder / "document.txt").read_bytes()
        yield
        save(scene.folder / "document.txt")
        assert (scene.folder / "document.txt").read_bytes() != before

    action(name, needs=needs)(steps)


_save("Vim", saves.by_vim, needs="vim")
_save("Vim with `backupcopy=yes`", lambda path: saves.by_vim(path, "backupcopy=yes"), needs="vim")
_save("nano", saves.by_nano, needs="nano")
_save("VS Code", saves.by_vscode)
_save("LibreOffice, by renaming", saves.by_libreoffice_renaming)
_save("LibreOffice, in place", saves.by_libreoffice_in_place)
_save("gedit (GIO)", saves.by_gedit, needs="gio")
_save("JetBrains", saves.by_jetbrains)
_shell("`sed -i`", "sed -i s/first/second/ f")
_shell("`perl -i -pe`", "perl -i -pe s/first/second/ f")
_save("Vim that keeps its backup `f~`", lambda path: saves.by_vim(path, "backup"), needs="vim")
_save("gedit that keeps its backup `f~`", lambda path: saves.by_gedit(path, "--backup"), needs="gio")
