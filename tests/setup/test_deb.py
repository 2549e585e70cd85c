"""The Debian package: what is in it, and (with `test-long`) a life of it in fresh roots of Debian 12 and 13."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import deb
from tests.setup.support import REPOSITORY, run

FACTS = deb.Facts(
    "0.1.0+deb12", "amd64", "3.11", ("libfuse3-3", "libc6"), "A Packager <packager@example.org>", 1_790_000_000
)
pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def made_tree(folder: Path) -> Path:
    """Make a tree as `put_environment` does, with a small library in the place of all."""
    home = folder / "tree" / deb.HOME
    site = home / "lib" / "python3.11" / "site-packages"
    (site / "small").mkdir(parents=True)
    (site / "small" / "__init__.py").write_text("x = 1\n")
    (site / "remotefs" / "cli").mkdir(parents=True)
    (site / "remotefs" / "cli" / "units_text.py").write_text(
        "def template_text(program, *, is_system):\n    return f'{program[0]} for all: {is_system}\\n'\n"
    )
    (site / "remotefs" / "__main__.py").write_text(
        "import sys\nsys.exit('no such shell') if sys.argv[2] == 'fish' else print(f'# for {sys.argv[2]}')\n"
    )
    info = site / "small-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: small\nVersion: 1.0\nClassifier: License :: OSI Approved :: MIT License\n"
    )
    (info / "direct_url.json").write_text("{}")
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(os.path.realpath(deb.PYTHON))
    for name in ("remotefs", "mount.fuse.remotefs", "uvicorn"):
        (home / "bin" / name).write_text("#!/tmp/somewhere/bin/python\nprint('it runs')\n")
    (home / "lib64").symlink_to("lib")
    (home / "share" / "man" / "man1").mkdir(parents=True)
    (home / "share" / "man" / "man1" / "remotefs.1").write_text(".TH REMOTEFS 1\n")
    return folder / "tree"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deb")
    tree = made_tree(folder)
    deb.settle_environment(tree)
    deb.put_documents(tree, FACTS)
    deb.put_completions(tree)
    deb.put_units(tree)
    deb.compile_bytecode(tree)
    return deb.pack(tree, FACTS, folder / "dist")


@pytest.fixture(scope="module")
def out(package: Path) -> Path:
    """The package, unpacked."""
    run("dpkg-deb", "-R", package, package.parent / "out", env=os.environ)
    return package.parent / "out"


def test_it_has_its_place_and_its_programs_and_nothing_of_the_machine(package: Path, out: Path) -> None:
    assert package.name == "remotefs_0.1.0+deb12_amd64.deb"
    listed = run("dpkg-deb", "-c", package, env=os.environ)
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_symlink()} == {
        "usr/bin/remotefs", "usr/sbin/mount.fuse.remotefs", "usr/lib/remotefs/bin/python",
    }  # fmt: skip
    for program in ("usr/bin/remotefs", "usr/sbin/mount.fuse.remotefs"):
        assert (out / program).read_text() == "#!/usr/lib/remotefs/bin/python\nprint('it runs')\n"
        assert (out / program).stat().st_mode & 0o777 == 0o755
    assert sorted(os.listdir(out / "usr/lib/remotefs")) == ["bin", "lib", "pyvenv.cfg"]
    assert (out / "usr/lib/remotefs/pyvenv.cfg").read_text().splitlines()[0] == "home = /usr/bin"
    site = out / "usr/lib/remotefs/lib/python3.11/site-packages"
    assert sorted(os.listdir(site / "small-1.0.dist-info")) == ["METADATA"]
    assert not list(out.rglob("direct_url.json"))
    assert (out / "usr/share/man/man1/remotefs.1.gz").exists()
    assert (out / deb.COMPLETIONS["bash"]).read_text() == "# for bash\n"
    assert not (out / deb.COMPLETIONS["fish"]).exists()
    assert [(out / place).read_text() for place in deb.UNITS] == [
        f"/usr/bin/remotefs for all: {is_system}\n" for is_system in (True, False)
    ]
    assert not [path for path in out.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022]


def test_its_bytecode_is_never_written_again(package: Path, out: Path) -> None:
    """Else a command of root would leave files behind that dpkg does not know."""
    (code,) = (out / "usr/lib/remotefs").rglob("small/**/*.pyc")
    magic, flags = code.read_bytes()[:4], code.read_bytes()[4:8]
    assert len(magic) == 4
    # PEP 552: by the sum of the source, and not checked.
    assert int.from_bytes(flags, "little") == 0b01
    assert b"/usr/lib/remotefs/lib/python3.11/site-packages/small/__init__.py" in code.read_bytes()
    assert str(package.parent).encode() not in code.read_bytes()


def test_it_says_what_it_needs_whose_it_is_and_what_it_keeps(out: Path) -> None:
    control = (out / "DEBIAN" / "control").read_text()
    assert "Depends: python3.11, fuse3, media-types | mime-support, libc6, libfuse3-3\n" in control
    assert all(line.startswith(" ") and len(line) < 81 for line in control.split("Description: ")[1].splitlines()[1:])
    terms = (out / deb.DOCS / "copyright").read_text()
    assert "  small 1.0: MIT License\n" in terms
    assert "License: Expat\n Permission is hereby granted" in terms
    # Nothing is stopped, started or removed: running mounts go on, and people's state is theirs.
    assert sorted(os.listdir(out / "DEBIAN")) == ["control", "md5sums", "postinst", "postrm"]
    said = subprocess.run(["sh", out / "DEBIAN" / "postrm", "purge"], capture_output=True, text=True, check=True)
    assert "~/.local/share/remotefs, which may hold the only copies of files" in said.stdout
    sums = (out / "DEBIAN" / "md5sums").read_text().splitlines()
    assert len(sums) == sum(path.is_file() and not path.is_symlink() for path in (out / "usr").rglob("*"))


# -- its life in fresh roots


LIFE = REPOSITORY / "tests" / "setup" / "life_of_a_package.sh"


@pytest.mark.mount
@pytest.mark.root("makes roots of Debian and installs packages in them")
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_a_fresh_root_gets_a_mount_by_two_commands_and_by_the_package(suite: str, tmp_path: Path) -> None:
    """A clone and `make run`; then the package: built, installed, mounted, removed under a mount, and purged."""
    if shutil.which("debootstrap") is None:
        pytest.skip("needs debootstrap")
    run("git", "clone", "--quiet", "--bare", REPOSITORY, tmp_path / "remotefs.git", env=os.environ)
    root = REPOSITORY / ".run" / "roots" / suite
    said = run(REPOSITORY / "scripts" / "root.sh", suite, root, tmp_path, "bash", LIFE, env=os.environ)
    print(said, file=sys.stderr)
    assert said.splitlines()[-1] == "all is well"
