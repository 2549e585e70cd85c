"""deb.py [--to FOLDER]: build a Debian package of remotefs, for the release of Debian that runs this.

    lock files ── wheels ──► TREE/usr/lib/remotefs, an environment of its own ── dpkg-deb ──► remotefs_VERSION_ARCH.deb

The environment uses Debian's own Python and nothing of its packages. Its bytecode is compiled here, and nobody compares
it with the sources later, so that no program writes into /usr. The package restarts nothing: mounts go on with the
program that they loaded.
"""

from __future__ import annotations

import argparse
import email.utils
import gzip
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
HOME = Path("usr/lib/remotefs")
DOCS = Path("usr/share/doc/remotefs")
# Debian's own Python, whatever else comes first on PATH.
PYTHON = "/usr/bin/python3"
# The programs that people and mount(8) call; those of other packages are not installed.
PROGRAMS = {"remotefs": "usr/bin", "mount.fuse.remotefs": "usr/sbin"}
SUMMARY = "Anthropic's Files API as a directory"
# A paragraph a line.
DESCRIPTION = """\
remotefs mounts the files of an account as a directory. Editors, cp and git work in it as on a disk. A file is \
uploaded when it is closed, and nothing is lost when the network goes down.
The package has an environment of its own in /usr/lib/remotefs, with the versions of all libraries that remotefs \
was tested with."""
# The shells, and the places where they look for completion.
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/remotefs",
    "zsh": "usr/share/zsh/vendor-completions/_remotefs",
    "fish": "usr/share/fish/vendor_completions.d/remotefs.fish",
}
UNITS = {"usr/lib/systemd/system/remotefs@.service": True, "usr/lib/systemd/user/remotefs@.service": False}
PRINT_UNIT = (
    "from remotefs.cli.units_text import template_text\n"
    "print(template_text(['/usr/bin/remotefs'], is_system={is_system}), end='')"
)
# Why lintian is not obeyed.
OVERRIDES = """\
# An environment of its own, whose bytecode is compiled once: no program has to write into /usr for that.
remotefs: package-installs-python-pycache-dir
"""
POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ] && grep -q ' fuse.remotefs ' /proc/self/mounts 2>/dev/null; then
    echo "remotefs: running mounts go on with the version that started them; unmount and mount again to use this one"
fi
"""
POSTRM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && grep -q ' fuse.remotefs ' /proc/self/mounts 2>/dev/null; then
    echo "remotefs: running mounts go on; end them with: fusermount3 -u MOUNTPOINT"
fi
if [ "$1" = purge ]; then
    echo "remotefs: settings and state folders in home directories are kept:"
    echo "remotefs: ~/.config/remotefs and ~/.local/share/remotefs, which may hold the only copies of files"
fi
"""


@dataclass(frozen=True)
class Facts:
    """What the package says of itself."""

    version: str
    architecture: str
    # Of Debian's Python, such as `3.11`.
    python: str
    # The packages of the shared libraries that the environment is linked with.
    libraries: tuple[str, ...]
    maintainer: str
    # Seconds since the epoch, of the last change of the sources.
    built_at: int


def control(facts: Facts, installed_kib: int) -> str:
    """Return the control file."""
    depends = ", ".join((f"python{facts.python}", "fuse3", "media-types | mime-support", *sorted(facts.libraries)))
    paragraphs = (
        textwrap.fill(part, 78, initial_indent=" ", subsequent_indent=" ") for part in DESCRIPTION.splitlines()
    )
    description = "\n .\n".join(paragraphs)
    fields = {
        "Package": "remotefs",
        "Version": facts.version,
        "Section": "utils",
        "Priority": "optional",
        "Architecture": facts.architecture,
        "Maintainer": facts.maintainer,
        "Installed-Size": str(installed_kib),
        "Depends": depends,
        "Description": f"{SUMMARY}\n{description}",
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def changelog(facts: Facts) -> str:
    """Return the changelog in Debian's form; the project's own is beside it."""
    when = email.utils.formatdate(facts.built_at)
    return (
        f"remotefs ({facts.version}) stable; urgency=medium\n\n"
        "  * The changes are told in CHANGELOG.md.gz beside this file.\n\n"
        f" -- {facts.maintainer}  {when}\n"
    )


def copyright_of(bundled: Iterable[tuple[str, str, str]]) -> str:
    """Return the copyright file; `bundled` are the name, the version and the licence of each library."""
    licence = (REPOSITORY / "LICENSE").read_text(encoding="utf-8").strip()
    holder = re.search(r"Copyright \(c\) (.*)", licence)
    terms = licence.split("\n\n", 2)[2]
    text = "\n".join(f" {line}" if line else " ." for line in terms.splitlines())
    libraries = "\n".join(f"  {name} {version}: {terms}" for name, version, terms in sorted(bundled))
    return (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        f"Comment: The libraries in /{HOME}/lib are copies of these releases, under their own licences:\n{libraries}\n"
        f" The texts of the licences are in the folders *.dist-info there.\n\n"
        f"Files: *\nCopyright: {holder[1] if holder else ''}\nLicense: Expat\n{text}\n"
    )


def licence_of(library: Distribution) -> str:
    """Return the name of a library's licence, as its metadata has it."""
    found = library.metadata
    classified = [
        line.rsplit(" :: ", 1)[1] for line in found.get_all("Classifier") or () if line.startswith("License ::")
    ]
    named = found.get("License-Expression") or ", ".join(classified) or found.get("License") or "see there"
    return named.splitlines()[0][:60]


# -- the tree


def put_environment(tree: Path, work: Path) -> None:
    """Make the environment in the tree: built with the locked tools, from wheels that were built here."""
    home = tree / HOME
    builder = work / "builder"
    wheels = work / "wheels"
    run(PYTHON, "-m", "venv", builder)
    pip = (builder / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
    run(REPOSITORY / "scripts" / "install.sh", builder / "bin" / "python", REPOSITORY / "requirements-build.lock")
    # Debugging symbols are of no use here, and hold the paths of this machine.
    flags = {**os.environ, "CFLAGS": f"-g0 -ffile-prefix-map={work}=."}
    run(
        *pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--require-hashes", "--wheel-dir", wheels,
        "-r", REPOSITORY / "requirements.lock", env=flags,
    )  # fmt: skip
    run(builder / "bin" / "python", "-m", "hatchling", "build", "-t", "wheel", "-d", wheels, cwd=REPOSITORY)
    run(PYTHON, "-m", "venv", "--without-pip", home)
    run(
        *pip, "--python", home / "bin" / "python", "install", "--quiet", "--no-compile", "--no-index", "--no-deps",
        *sorted(wheels.glob("*.whl")),
    )  # fmt: skip
    settle_environment(tree)


def settle_environment(tree: Path) -> None:
    """Make an environment in the tree one of the place where it will be installed."""
    home = tree / HOME
    python = Path(os.path.realpath(home / "bin" / "python3"))
    for program in (home / "bin").iterdir():
        if program.name in PROGRAMS:
            text = program.read_text(encoding="utf-8").split("\n", 1)[1]
            program.write_text(f"#!/{HOME}/bin/python\n{text}", encoding="utf-8")
            link = tree / PROGRAMS[program.name] / program.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../lib/remotefs/bin/{program.name}")
        else:
            program.unlink()
    (home / "bin" / "python").symlink_to(f"../../..{str(python).removeprefix('/usr')}")
    (home / "pyvenv.cfg").write_text(
        f"home = {python.parent}\ninclude-system-site-packages = false\n", encoding="utf-8"
    )
    for leftover in ("include", "lib64"):
        path = home / leftover
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
    for module in home.rglob("*.so"):
        run("strip", "--strip-unneeded", module)
    # What pip notes of this machine.
    for name in ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD"):
        for path in home.rglob(f"*.dist-info/{name}"):
            path.unlink()
    if (home / "share").exists():
        shutil.copytree(home / "share", tree / "usr/share", dirs_exist_ok=True)
        shutil.rmtree(home / "share")


def put_completions(tree: Path) -> None:
    """Put in what `remotefs completion SHELL` prints; say so if it prints nothing."""
    for shell, place in COMPLETIONS.items():
        put_printed(tree, place, "-m", "remotefs", "completion", shell)


def put_units(tree: Path) -> None:
    """Put in the templates of units, for `systemctl enable --now remotefs@PATH` (systemd-escape --path)."""
    for place, is_system in UNITS.items():
        put_printed(tree, place, "-c", PRINT_UNIT.format(is_system=is_system))


def put_printed(tree: Path, place: str, *words: str) -> None:
    """Put in what the tree's Python prints; say so if it fails."""
    # The environment's own interpreter is found only where it will be installed.
    (site,) = (tree / HOME / "lib").glob("python3*/site-packages")
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    printed = subprocess.run((PYTHON, *words), env=env, cwd="/", capture_output=True, text=True, check=False)
    if printed.returncode:
        print(f"the package lacks {place}: {printed.stderr.strip()}", file=sys.stderr)
        return
    (tree / place).parent.mkdir(parents=True, exist_ok=True)
    (tree / place).write_text(printed.stdout, encoding="utf-8")


def compile_bytecode(tree: Path) -> None:
    """Compile all modules, so that nobody compares the bytecode with the sources or writes it again."""
    site = tree / HOME / "lib"
    # Beside the sources, wherever the caller keeps its own.
    here = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    run(
        PYTHON, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", tree, "-p", "/", site,
        env=here,
    )  # fmt: skip


def put_documents(tree: Path, facts: Facts) -> None:
    """Put in the documents, and what Debian wants every package to have."""
    docs = tree / DOCS
    docs.mkdir(parents=True)
    for page in (REPOSITORY / "docs").rglob("*.md"):
        target = docs / page.relative_to(REPOSITORY / "docs")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, target)
    shutil.copyfile(REPOSITORY / "README.md", docs / "README.md")
    write_packed(docs / "CHANGELOG.md.gz", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"))
    write_packed(docs / "changelog.gz", changelog(facts))
    site = [str(path) for path in (tree / HOME / "lib").glob("python3*/site-packages")]
    bundled = [
        (library.name, library.version, licence_of(library))
        for library in distributions(path=site)
        if library.name != "remotefs"
    ]
    (docs / "copyright").write_text(copyright_of(bundled), encoding="utf-8")
    overrides = tree / "usr/share/lintian/overrides/remotefs"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(OVERRIDES, encoding="utf-8")
    for manual in (tree / "usr/share/man").rglob("*.[1-9]"):
        write_packed(manual.with_name(manual.name + ".gz"), manual.read_text(encoding="utf-8"))
        manual.unlink()


def write_packed(path: Path, text: str) -> None:
    """Write a gzip file that is the same each time."""
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


# -- the package


def pack(tree: Path, facts: Facts, folder: Path) -> Path:
    """Make the package of a tree and return its path."""
    size = sum(max(path.lstat().st_size, 1024) for path in tree.rglob("*") if not path.is_dir() or path.is_symlink())
    set_modes(tree)
    scripts = tree / "DEBIAN"
    scripts.mkdir(mode=0o755)
    (scripts / "control").write_text(control(facts, -(-size // 1024)), encoding="utf-8")
    for name, text in (("postinst", POSTINST), ("postrm", POSTRM)):
        (scripts / name).write_text(text, encoding="utf-8")
        (scripts / name).chmod(0o755)
    write_sums(tree)
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / f"remotefs_{facts.version}_{facts.architecture}.deb"
    dated = {**os.environ, "SOURCE_DATE_EPOCH": str(facts.built_at)}
    run("dpkg-deb", "--root-owner-group", "--build", tree, package, env=dated, quiet=True)
    return package


def set_modes(tree: Path) -> None:
    """Give all files the modes of installed files, whatever the umask was."""
    for path in (tree, *tree.rglob("*")):
        if path.is_symlink():
            continue
        runs = path.is_dir() or (path.parent == tree / HOME / "bin")
        path.chmod(0o755 if runs else 0o644)


def write_sums(tree: Path) -> None:
    """Write the sums by which `dpkg --verify` finds changed files."""
    paths = sorted(
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if stat.S_ISREG(path.lstat().st_mode) and path.parent != tree / "DEBIAN"
    )
    sums = subprocess.run(["md5sum", "--", *paths], cwd=tree, capture_output=True, check=True).stdout
    (tree / "DEBIAN" / "md5sums").write_bytes(sums)


# -- this machine


def facts_here(tree: Path) -> Facts:
    """Return the facts of a package that is built on this machine."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE))
    version = re.search(r'"(.+)"', (REPOSITORY / "remotefs" / "__init__.py").read_text(encoding="utf-8").split("=")[-1])
    assert version is not None
    python = output(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    # As Debian's own tools: whoever builds the package answers for it.
    name = os.environ.get("DEBFULLNAME", "remotefs packager")
    mail = os.environ.get("DEBEMAIL") or f"{output('id', '-un')}@{output('hostname')}"
    return Facts(
        version=f"{version[1]}+deb{release.get('VERSION_ID', '0')}",
        architecture=output("dpkg", "--print-architecture"),
        python=python,
        libraries=tuple(packages_of(tree)),
        maintainer=f"{name} <{mail}>",
        built_at=int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()),
    )


def packages_of(tree: Path) -> set[str]:
    """Return the Debian packages of the shared libraries outside of the tree that its modules are linked with."""
    found: set[str] = set()
    for module in (tree / HOME).rglob("*.so"):
        for name, path in re.findall(r"(\S+) => (/\S+)", output("ldd", module)):
            # The files of a merged /usr are known to dpkg by either name.
            for place in (path, os.path.realpath(path), f"/usr{path}"):
                owner = subprocess.run(["dpkg", "-S", place], capture_output=True, text=True, check=False)
                if owner.returncode == 0:
                    found.add(owner.stdout.split(":")[0])
                    break
            else:
                raise SystemExit(f"{module}: no package has the library {name}")
    return found


def output(*command: object) -> str:
    """Run a program and return its output."""
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout.strip()


def run(*command: object, env: Mapping[str, str] | None = None, cwd: Path | None = None, quiet: bool = False) -> None:
    """Run a program; end with its message if it fails."""
    done = subprocess.run([*map(str, command)], env=env, cwd=cwd, check=False, capture_output=quiet, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed ({done.returncode})\n{done.stderr or ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=REPOSITORY / "dist", help="the folder of the package")
    options = parser.parse_args()
    if not shutil.which("dpkg-deb") or not Path(PYTHON).exists():
        raise SystemExit("a Debian package is built on Debian, with its python3, python3-venv and dpkg-deb")
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="remotefs-deb-") as folder:
        tree = Path(folder) / "tree"
        put_environment(tree, Path(folder))
        facts = facts_here(tree)
        put_documents(tree, facts)
        put_completions(tree)
        put_units(tree)
        compile_bytecode(tree)
        print(pack(tree, facts, options.to.absolute()), file=sys.stdout)


if __name__ == "__main__":
    main()
