"""The programs of a soak, as people use them: each is an endless row of bash scripts for one folder.

A script runs twice: in a folder of a mount and in its twin on the plain disk. Both must end with the same exit status
and print the same. What is in a folder stays about the same size, so that whatever grows is the mount.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Scripts = Iterator[str]
# Names of the tree that `make_source` makes.
TEXTS = tuple(
    f"{folder}/{name}.txt" for folder in ("notes", "notes/deep", "letters") for name in ("a", "b", "ü c", "d")
)
_LINES = 60


@dataclass(frozen=True)
class Program:
    """`scripts` gets chance and a folder outside of the mounts; `diff` does not compare the names in `left_out`."""

    name: str
    needs: str
    scripts: Callable[[random.Random, Path], Scripts]
    left_out: tuple[str, ...] = ()


def make_source(folder: Path, seed: int) -> Path:
    """Make a small tree as people have one: texts, a few binaries, a link, an empty folder, modes."""
    chance = random.Random(seed)
    for name in TEXTS:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"line {n} {chance.random()}\n" for n in range(chance.randrange(1, _LINES))))
    for number, size in enumerate((0, 1, 4096, 150_000, 1_500_000)):
        (folder / f"{number}.bin").write_bytes(chance.randbytes(size))
    (folder / "letters/link").symlink_to("../notes/a.txt")
    (folder / "empty").mkdir()
    (folder / "notes/b.txt").chmod(0o755)
    return folder


def copies(chance: random.Random, outside: Path) -> Scripts:
    """`cp -a`, edits, renames of files and folders, `rm -r`: at most three copies at a time."""
    source = make_source(outside / "source", chance.randrange(1 << 30))
    there: list[str] = []
    for number in itertools.count():
        there.append(f"copy-{number % 50}")
        yield f"cp -a '{source}' {there[-1]}"
        for _ in range(8):
            yield edit(chance, chance.choice(there))
        if chance.random() < 0.5:
            moved = f"{there.pop(chance.randrange(len(there)))}"
            there.append(f"moved-{number % 50}")
            yield f"mv {moved} {there[-1]}"
        if len(there) > 2:
            yield f"rm -r {there.pop(0)}"


def edit(chance: random.Random, tree: str) -> str:
    """Return a script that changes one file of a tree and leaves all its names as they are."""
    path, number = f"'{tree}/{chance.choice(TEXTS)}'", chance.randrange(1 << 20)
    ways = (
        f"sed -i 's/line/row {number}/' {path}",
        f"echo 'one more {number}' >> {path}",
        f"printf 'written anew %s\\n' {number} > {path}",
        f"cp {path} {path}.bak && mv {path}.bak {path}",
        f"mv {path} {path}.old && cp {path}.old {path} && rm {path}.old",
        f"truncate -s {number % 9000} {path}",
        f"head -c {number % 5000 + 1} {tree}/3.bin | dd of={path} bs=700 seek=2 conv=notrunc status=none",
        f"sort -o {path} {path}",
        f"ln {path} {path}.hard && rm {path} && mv {path}.hard {path}",
        f"mkdir -p {tree}/new/er && mv {path} {tree}/new/er/x && mv {tree}/new/er/x {path} && rm -r {tree}/new",
        f"chmod 640 {path}; touch -d @{1_700_000_000 + number} {path}; stat -c '%a %s %Y' {path}",
    )
    return chance.choice(ways)


def rsync(chance: random.Random, outside: Path) -> Scripts:
    """`rsync -a --delete` of a tree that changes outside."""
    source = make_source(outside / "source", chance.randrange(1 << 30))
    for number in itertools.count():
        for name in chance.sample(TEXTS, 3):
            (source / name).write_text(f"version {number} {chance.random()}\n" * chance.randrange(1, _LINES))
        extra = source / f"extra-{number % 5}"
        if extra.exists():
            shutil.rmtree(extra)
        else:
            shutil.copytree(source / "letters", extra, symlinks=True)
        (source / "3.bin").write_bytes(chance.randbytes(chance.randrange(150_000)))
        flags = chance.choice(("", " --inplace", " -c"))
        yield f"rsync -a --delete{flags} '{source}/' mirror/"
        yield f"rsync -ain --delete '{source}/' mirror/"


def git(chance: random.Random, _: Path) -> Scripts:
    """Commits, branches, merges and `git gc`; a repository lives for a dozen commits."""
    for number in itertools.count():
        repo = f"repo-{number % 50}"
        yield f"git init -q -b main {repo}"
        for commit in range(12):
            work = f"mkdir -p src/{commit % 3}; seq {chance.randrange(2000)} > src/{commit % 3}/{commit % 5}.py"
            head = "git rev-parse HEAD; git status --porcelain"
            yield f"cd {repo}; {work}; git add -A; git commit -qm 'change {commit}'; {head}"
            if commit % 4 == 3:
                side = f"git checkout -qb side{commit} HEAD~2; echo {commit} > side{commit}; git add -A"
                merge = f"git checkout -q main; git merge -q --no-edit side{commit}"
                yield f"cd {repo}; {side}; git commit -qm side; {merge}; {head}; git stash list"
        yield f"cd {repo}; git gc -q; git fsck --full 2>/dev/null; git log --format=%H; git status --porcelain"
        yield f"rm -rf {repo}"


def sqlite(chance: random.Random, _: Path) -> Scripts:
    """Transactions, deletions, VACUUM; a rollback journal in one database, a write-ahead log in the other."""
    for mode in ("delete", "truncate"):
        yield f"sqlite3 {mode}.db 'pragma journal_mode={mode}; create table t (k integer primary key, v text);'"
    for number in itertools.count():
        name = chance.choice(("delete.db", "truncate.db"))
        values = ",".join(f"({chance.randrange(500)}, 'v{chance.random()}')" for _ in range(40))
        change = f"begin; insert or replace into t values {values}; delete from t where k % 17 = {number % 17}; commit;"
        yield f'sqlite3 {name} "{change} select count(*), max(v) from t;"'
        if number % 5 == 4:
            yield f"sqlite3 {name} 'vacuum; pragma integrity_check;'; sqlite3 {name} .dump | sha256sum"


def tar(chance: random.Random, outside: Path) -> Scripts:
    """Archives unpacked, packed again and removed."""
    source = make_source(outside / "source", chance.randrange(1 << 30))
    shutil.make_archive(str(outside / "archive"), "gztar", source)
    for number in itertools.count():
        place = f"unpacked-{number % 50}"
        yield f"mkdir {place}; tar -xzf '{outside}/archive.tar.gz' -C {place}"
        yield f"tar --sort=name -cf - {place} | tar -tf - ; find {place} ! -type d -printf '%P %y %s %m\\n' | sort"
        yield f"tar --sort=name --mtime=@1 --owner=0 --group=0 -czf packed.tar.gz {place}; sha256sum < packed.tar.gz"
        yield f"rm -r {place}"


def editors(chance: random.Random, outside: Path) -> Scripts:
    """vim, and a program that writes through a map and at random places of a file."""
    source = make_source(outside / "source", chance.randrange(1 << 30))
    yield f"cp -a '{source}' texts"
    for number in itertools.count():
        path = f"'texts/{chance.choice(TEXTS)}'"
        change = f"-c '1,$s/line/edited {number}/e' -c 'normal Gonew {number}' -c wq"
        yield f"vim -Nu NONE -i NONE -es {change} {path} </dev/null"
        if number % 5 == 4:
            yield f"cp '{source}/{chance.choice(TEXTS)}' {path}"
        yield f"python3 -c '{_MAPPED}' texts/mapped {chance.randrange(1 << 30)}; sha256sum < texts/mapped"


_MAPPED = """
import mmap, os, random, sys
chance = random.Random(sys.argv[2])
size = chance.randrange(5000, 400_000)
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(file, size)
with mmap.mmap(file, size) as map:
    for _ in range(5):
        at = chance.randrange(size - 600)
        map[at:at + 500] = chance.randbytes(500)
for _ in range(5):
    os.pwrite(file, chance.randbytes(3000), chance.randrange(size))
os.fsync(file)
os.close(file)
"""

PROGRAMS = (
    Program("copies", "cp", copies),
    Program("rsync", "rsync", rsync),
    Program("git", "git", git, left_out=(".git",)),
    Program("sqlite", "sqlite3", sqlite, left_out=("*.db",)),
    Program("tar", "tar", tar, left_out=("packed.tar.gz",)),
    Program("editors", "vim", editors),
)


def installed() -> list[Program]:
    """Return the programs that this machine has."""
    return [program for program in PROGRAMS if shutil.which(program.needs)]
