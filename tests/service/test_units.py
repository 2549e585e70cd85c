"""Units of systemd, and the link for mount(8) (H2): what is written where, and what is left alone."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.cli.commands.install import helper, link_helper, remove_helper, unit
from remotefs.cli.units_text import Unit, escaped_path, is_unchanged, template_text, unit_text
from remotefs.errors import UsageError
from tests.mount.support import environment, remotefs

NOBODY = 65534
PROGRAM = ("/usr/bin/true",)


def fields(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its documents say
    parser.read_string(text)
    return parser


def user_unit(mountpoint: str = "/mnt/files", **changes: object) -> Unit:
    return Unit(**{"mountpoint": mountpoint, "program": PROGRAM, "is_system": False, **changes})  # type: ignore[arg-type]


def test_h2_a_unit_drains_at_a_stop_and_tells_when_it_is_ready() -> None:
    wanted = user_unit(arguments=("--profile", "work"), credential="/etc/key", drain_s=600.0)
    service = fields(unit_text(wanted))["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"] == "/usr/bin/true mount --foreground --profile work /mnt/files"
    assert service["ExecStop"] == "-/usr/bin/true umount --timeout 600 /mnt/files"
    assert float(service["TimeoutStopSec"]) > 600
    assert service["LoadCredential"] == "anthropic-api-key:/etc/key"
    assert wanted.name == "remotefs-mnt-files.service"


def test_nothing_keeps_a_users_mount_from_fusermount3_or_hides_a_mount_from_others() -> None:
    # What implies NoNewPrivileges for a user, and what makes a mount namespace (systemd.exec(5)).
    filters = {
        "NoNewPrivileges", "SystemCallFilter", "SystemCallArchitectures", "RestrictAddressFamilies", "RestrictNamespaces",
        "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute", "ProtectClock",
        "ProtectHostname", "ProtectKernelLogs",
    }  # fmt: skip
    namespaces = {
        "PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectSystem", "ProtectHome", "ProtectKernelTunables",
        "ProtectKernelModules", "ProtectControlGroups", "ProtectProc", "ReadWritePaths", "ReadOnlyPaths",
        "InaccessiblePaths", "BindPaths", "TemporaryFileSystem", "MountFlags", "RootDirectory",
    }  # fmt: skip
    of_user = fields(unit_text(user_unit()))["Service"].keys()
    of_root = fields(unit_text(user_unit(is_system=True)))["Service"].keys()
    assert not of_user & (filters | namespaces)
    assert not of_root & namespaces
    assert "NoNewPrivileges" in of_root


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20))
def test_no_name_gets_out_of_its_word(name: str) -> None:
    text = unit_text(user_unit(f"/{name}", arguments=("-o", f"fsname={name}")))
    service = fields(text)["Service"]
    words = _words(service["ExecStart"])
    assert words == ["/usr/bin/true", "mount", "--foreground", "-o", f"fsname={name}", f"/{name}"]
    assert is_unchanged(text) is True


def _words(line: str) -> list[str]:
    """The words of a command line as systemd reads it, as far as units here use that."""
    words, at = [], 0
    while at < len(line):
        quoted, word = line[at] == '"', ""
        at += quoted
        while at < len(line) and line[at] != ('"' if quoted else " "):
            at += line[at] == "\\"
            word += line[at]
            at += 1
        at += 1 + quoted
        words.append(word.replace("%%", "%").replace("$$", "$"))
    return words


@pytest.mark.parametrize(
    ("path", "escaped"),
    [
        ("/mnt/files", "mnt-files"), ("/", "-"), ("/mnt//my files/", "mnt-my\\x20files"), ("/a-b/c", "a\\x2db-c"),
        ("/.hidden/.x", "\\x2ehidden-.x"), ("/ä", "\\xc3\\xa4"), ("/a:b_c", "a:b_c"),
    ],
)  # fmt: skip
def test_a_path_is_escaped_as_systemd_does(path: str, escaped: str) -> None:
    assert escaped_path(path) == escaped


def test_what_somebody_changed_or_wrote_is_known() -> None:
    text = unit_text(user_unit())
    assert is_unchanged(text) is True
    assert is_unchanged(text.replace("RestartSec=10", "RestartSec=60")) is False
    assert is_unchanged("[Service]\nExecStart=/bin/true\n") is None


def install(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    env = environment() | {"XDG_CONFIG_HOME": str(home)}
    return remotefs("install", "unit", "--user", *arguments, env=env)


def test_h2_a_unit_of_a_user_is_written_updated_and_removed_and_a_changed_one_is_left_alone(tmp_path: Path) -> None:
    done = install(tmp_path, tmp_path / "my files", "-o", "ro")
    assert done.returncode == 0, done.stderr
    [written] = (tmp_path / "systemd" / "user").iterdir()
    for said in (f"wrote {written}", "it has no key", "mkdir -p '", "systemctl --user daemon-reload", "enable-linger"):
        assert said in done.stderr
    assert f"systemctl --user enable --now '{written.name}'" in done.stderr
    assert fields(written.read_text())["Service"]["ExecStart"].endswith(
        f' mount --foreground -o ro "{tmp_path}/my files"'
    )
    assert install(tmp_path, tmp_path / "my files").returncode == 0
    assert "-o ro" not in written.read_text()

    written.write_text(written.read_text().replace("RestartSec=10", "RestartSec=60"))
    for arguments in ((), ("--remove",)):
        done = install(tmp_path, tmp_path / "my files", *arguments)
        assert (done.returncode, "was changed since remotefs wrote it" in done.stderr) == (2, True)
    assert "RestartSec=60" in written.read_text()


@pytest.mark.long
def test_h2_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for arguments, said in (
        (("/mnt", "-o", "bogus"), "-o bogus: no such option"), (("/mnt", "--profile", "none"), "there is no profile"),
        ((f"/{'x' * 300}",), "too long"), (("/mnt/a\nb",), "characters that a unit cannot have"),
        (("/mnt", "--remove"), "is not there"),
    ):  # fmt: skip
        done = install(tmp_path, *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []
    foreign = tmp_path / "systemd" / "user" / "remotefs-mnt.service"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("[Service]\nExecStart=/bin/true\n")
    assert "remotefs did not write it" in install(tmp_path, "/mnt").stderr
    assert install(tmp_path, "/mnt", "--print").stdout.startswith("# Written by `remotefs install unit`")


@pytest.mark.long
@pytest.mark.parametrize("is_system", [False, True])
def test_h2_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, is_system: bool) -> None:
    assert shutil.which("systemd-analyze"), "this test needs systemd-analyze, of Debian's package systemd"
    wanted = user_unit(
        "/mnt/my files, 100 %", is_system=is_system, credential="/etc/the key", arguments=("-o", "fsname=$x")
    )
    paths = [tmp_path / wanted.name, tmp_path / "remotefs@.service"]
    paths[0].write_text(unit_text(wanted))
    paths[1].write_text(template_text(PROGRAM, is_system=is_system))
    whose = "--system" if is_system else "--user"
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    for path in (paths[0], paths[1].with_name("remotefs@mnt-files.service")):
        done = subprocess.run(
            ["systemd-analyze", whose, "verify", "--man=no", path], capture_output=True, text=True, check=False, env=env
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_h2_the_helper_is_linked_and_nothing_else_is_overwritten(tmp_path: Path) -> None:
    program, place = tmp_path / "bin" / "mount.fuse.remotefs", tmp_path / "mount.fuse.remotefs"
    assert not remove_helper(place)
    link_helper(program, place)
    link_helper(tmp_path / "new" / "mount.fuse.remotefs", place)
    assert place.readlink() == tmp_path / "new" / "mount.fuse.remotefs"
    assert remove_helper(place)
    assert not os.path.lexists(place)
    for make in (lambda: place.write_text("#!/bin/sh\n"), lambda: place.symlink_to("/usr/bin/true")):
        make()
        with pytest.raises(UsageError, match="is not a link to a"):
            link_helper(program, place)
        with pytest.raises(UsageError, match="is not a link to a"):
            remove_helper(place)
        place.unlink()


@pytest.fixture
def as_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Its own settings, as root's are not for it to read.
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(before)


@pytest.mark.usefixtures("as_ordinary_user")
def test_h2_only_root_installs_for_the_machine() -> None:
    with pytest.raises(UsageError, match="run this as root"):
        helper()
    with pytest.raises(UsageError, match="run this as root, or use --user or --print"):
        unit(Path("/mnt"), is_system=True)
