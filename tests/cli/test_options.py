"""`-o`."""

from __future__ import annotations

import pytest

from remotefs.cli.launch.mount_options import MountOptions, SettingWords, parse_options
from remotefs.errors import UsageError
from remotefs.vfs.shown import ShownAs


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
    assert parse_options([
        "defaults,noauto,_netdev,nofail,x-systemd.requires=a.service,X-mount.mkdir,comment=hello,users,ro"
    ]) == MountOptions(read_only=True)


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


@pytest.mark.parametrize("value", ["foo", "ro,foo", "RO", "allow-other", "foo=5", "x", "usr=5"])
def test_an_unknown_word_is_refused_with_the_known_ones(value: str) -> None:
    with pytest.raises(UsageError, match=r"allow_other.*noexec.*ro.*uid=") as caught:
        parse_options([value])
    assert "\n" not in str(caught.value)
    assert parse_options([value, "noexec"], sloppy=True).extra == ("noexec",)


@pytest.mark.parametrize(
    ("value", "near"), [("allow-other", "allow_other"), ("ui=5", "uid"), ("umsk=022", "umask"), ("noatim", "noatime")]
)
def test_a_misspelt_word_is_answered_with_near_ones(value: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean .*{near}"):
        parse_options([value])


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("uid=5", ShownAs(uid=5)),
        ("uid=root,gid=root", ShownAs(uid=0, gid=0)),
        ("umask=027", ShownAs(file_mask=0o27, dir_mask=0o27)),
        ("fmask=0137,umask=27", ShownAs(file_mask=0o137, dir_mask=0o27)),
        ("umask=0,dmask=022", ShownAs(file_mask=0, dir_mask=0o22)),
        ("uid=4294967294,uid=7", ShownAs(uid=7)),
    ],
)
def test_h2_what_is_shown(word: str, expected: ShownAs) -> None:
    assert parse_options([word]) == MountOptions(shown=expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/", ""),
        ("a/b", "a/b"),
        ("//a//b/", "a/b"),
        ("a b", "a b"),
        ("a\\,b/c", "a,b/c"),
        ("x=y", "x=y"),
        ("...", "..."),
    ],
)
def test_the_folder_that_is_the_root(value: str, expected: str) -> None:
    assert parse_options([f"ro,subdir={value},noexec"]) == MountOptions(
        read_only=True, extra=("noexec",), subdir=expected
    )


@pytest.mark.parametrize(
    "value",
    [
        "uid=", "uid=-1", "uid=no such user", "uid=4294967295", "uid", "gid=1.5", "gid=٣", "umask=8", "umask=1000",
        "umask=", "umask=-1", "umask=u+x", "dmask=0o22", "fmask=rw", "subdir=..", "subdir=a/../b", "subdir=./a", "subdir",
        "subdir=.remotefs/by-id", f"subdir={'n' * 256}", "durability=often", "base_url=ftp://x", "base_url=", "config=",
        "state_dir=", "profile=", "fsname",
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_with_what_may_stand_there(value: str) -> None:
    with pytest.raises(UsageError, match=rf"^-o {value.partition('=')[0]}.*(give|needs a value).*") as caught:
        parse_options([value])
    assert "\n" not in str(caught.value)


def test_a_flag_takes_no_value() -> None:
    with pytest.raises(UsageError, match="ro takes no value"):
        parse_options(["ro=yes"])


def test_an_address_with_a_password_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        parse_options(["base_url=https://me:hush@x"])
    assert "hush" not in str(caught.value)


def test_words_that_stand_for_options_of_the_command() -> None:
    words = "profile=work,config=/c,state_dir=/s,durability=local,base_url=http://x"
    assert parse_options([words]).settings == SettingWords("work", "/c", "/s", "http://x", "local")


def test_what_the_table_of_mounts_has_of_a_mount_is_passed_over() -> None:
    shown = "rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions,allow_other,max_read=131072,user=me"
    assert parse_options([shown]) == MountOptions(allow_other=True, extra=("nosuid", "nodev"))


def test_the_two_ways_to_let_others_in_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude"):
        parse_options(["allow_other,allow_root"])


@pytest.mark.parametrize(("value", "expected"), [("allow_other", True), ("allow_root", True), ("ro", False)])
def test_who_needs_the_machines_permission(value: str, expected: bool) -> None:
    assert parse_options([value]).lets_others_in is expected
