"""`-o`."""

from __future__ import annotations

import pytest

from remotefs.cli.launch.mount_options import MountOptions, parse_options
from remotefs.errors import UsageError


def test_nothing_said_is_an_ordinary_mount() -> None:
    assert parse_options([]) == MountOptions(read_only=False, allow_other=False, extra=())
    assert parse_options(["", "default_permissions,rw"]) == MountOptions()


def test_flags_of_all_values_count() -> None:
    assert parse_options(["ro,allow_other", "noexec, noatime"]) == MountOptions(
        read_only=True, allow_other=True, extra=("noexec", "noatime")
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ro,rw", MountOptions()),
        ("rw,ro", MountOptions(read_only=True)),
        ("exec,nodev,noexec", MountOptions(extra=("noexec", "nodev"))),
        ("dirsync,dirsync", MountOptions(extra=("dirsync",))),
    ],
)
def test_of_a_pair_the_last_counts(value: str, expected: MountOptions) -> None:
    assert parse_options([value]) == expected


def test_what_fstab_says_to_others_is_passed_over() -> None:
    assert parse_options(["defaults,noauto,_netdev,nofail,x-systemd.automount,comment=hello,ro"]) == MountOptions(
        read_only=True
    )


def test_the_source_that_df_shows() -> None:
    assert parse_options(["ro,fsname=claude files", "fsname=mine"]) == MountOptions(read_only=True, fsname="mine")
    assert parse_options(["fsname=ro"]) == MountOptions(fsname="ro")


@pytest.mark.parametrize("name", ["", "a\\", "a\nb"])
def test_a_source_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="fsname"):
        parse_options([f"fsname={name}"])


def test_a_remount_has_the_flags_of_the_kernel_in_order() -> None:
    assert parse_options(["remount,ro", "allow_other,noexec,fsname=x"]).remount == ("ro", "noexec")
    assert parse_options(["remount"]).remount == ()
    assert parse_options(["ro"]).remount is None


@pytest.mark.parametrize("value", ["foo", "ro,foo", "uid=5", "RO", "allow-other", "umask=022"])
def test_an_unknown_flag_is_refused_with_the_known_ones(value: str) -> None:
    with pytest.raises(UsageError, match=r"allow_other.*noexec.*ro"):
        parse_options([value])


def test_the_two_ways_to_let_others_in_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude"):
        parse_options(["allow_other,allow_root"])


@pytest.mark.parametrize(("value", "expected"), [("allow_other", True), ("allow_root", True), ("ro", False)])
def test_who_needs_the_machines_permission(value: str, expected: bool) -> None:
    assert parse_options([value]).lets_others_in is expected
