"""N6 on the names that real programs make."""

from __future__ import annotations

import pytest

from remotefs.config import NamesConfig
from remotefs.vfs.policy import NamePolicy

POLICY = NamePolicy(NamesConfig())


@pytest.mark.parametrize(
    "path",
    [
        ".DS_Store",
        "photos/.DS_Store",
        "photos/._IMG_1.jpg",
        "Thumbs.db",
        "photos/thumbs.db",
        "Desktop.ini",
        "DESKTOP.INI",
        "music/.directory",
        ".nfs000000000a1b2c3d00000001",
        "a/b/.fuse_hidden0000012300000001",
        ".Trash-1000",
        ".Trash-1000/info/report.pdf.trashinfo",
        ".Trash-1000/files/folder/deep/report.pdf",
    ],
)
def test_stays_on_this_machine(path: str) -> None:
    assert POLICY.never_uploaded(path)


@pytest.mark.parametrize(
    "path",
    [
        "report.pdf",
        "a/b/c.txt",
        ".Trash",
        ".trash-notes/a.txt",
        "Trash-1000/a.txt",
        "DS_Store",
        "a.DS_Store",
        "thumbs.db.txt",
        "my desktop.ini",
        "directory",
        "nfs.conf",
        ".bashrc",
        ".git/config",
        "_._",
        "line\nThumbs.db",
    ],
)
def test_is_uploaded(path: str) -> None:
    assert not POLICY.never_uploaded(path)


TEMPORARY = {
    "vim": [
        ".notes.txt.swp",
        ".notes.txt.swo",
        ".notes.txt.swx",
        ".swp",
        ".swpx",
        "4913",
        "notes.txt~",
        ".notes.txt.un~",
    ],
    "emacs": ["#notes.txt#", ".#notes.txt", "notes.txt~", "notes.txt.~12~", "#*scratch*#"],
    "nano": [".notes.txt.swp", "notes.txt~"],
    "gio, gedit, GNOME Text Editor": [".goutputstream-4XFJZ3", ".goutputstream-CVOHZ3"],
    "glib g_file_set_contents": ["settings.ini.K3X2A1", "bookmarks.xbel.0KYL9X"],
    "LibreOffice": [".~lock.Budget 2024.ods#", "lu81122mk3v1.tmp"],
    "Microsoft Office": ["~$Budget.xlsx", "~WRL0001.tmp"],
    "Kate": [".notes.txt.kate-swp", "notes.txt~"],
    "Qt QSaveFile": ["notes.txt.hGkPqR", "notes.txt.AbCdEf", "notes.txt.abcdeF", "krita.kra.qwErty"],
    "Dolphin": ["film.mkv.part"],
    "git": [
        "index.lock",
        "HEAD.lock",
        "tmp_obj_Kj2CCd",
        "tmp_pack_M4awHV",
        "tmp_idx_C2PiA0",
        "tmp_bitmap_iU40Jj",
        ".tmp-10321-pack-f71e745cbf2665a8071b17b01d16669f327816a3.idx",
        "packs_Jxn5KM",
        "refs_2ITY0p",
    ],
    "sqlite": ["app.db-journal", "app.db-wal", "app.db-shm"],
    "sed -i": ["sedExCdpd", "sedaaaaaa", "sed012345"],
    "perl -i": ["XXdr1mvF"],
    "zip": ["ziHDgLvz"],
    "patch": ["notes.txt.owNqjXb"],
    "rsync": [".notes.txt.Zas0Yu", ".bashrc.k1u7JF", ".Makefile.aaaaaa"],
    "Chrome": ["Unconfirmed 123456.crdownload", "setup.exe.crdownload", ".com.google.Chrome.a1B2c3"],
    "Firefox": ["kB3vPq7f.pdf.part", "setup.exe.part"],
    "VS Code": ["settings.json.vsctmp"],
    "JetBrains": ["Main.java___jb_tmp___", "Main.java___jb_old___"],
    "Jupyter": [".~analysis.ipynb"],
    "CPython": ["mod.cpython-311.pyc.140358210927664"],
}


@pytest.mark.parametrize(("tool", "name"), [(tool, name) for tool, made in TEMPORARY.items() for name in made])
def test_of_temporary_shape(tool: str, name: str) -> None:
    assert POLICY.temporary(name), tool
    assert not POLICY.never_uploaded(name), tool


@pytest.mark.parametrize(
    "name",
    [
        "report.pdf",
        "notes.txt",
        "n.txt.save",  # what nano rescues when its terminal goes away
        "report.odt.bak",
        "photo.jpg.orig",
        "banner.swf",
        "App.svelte",
        "build.gradle",
        "app.sqlite",
        "app.config",
        "photo.heic",
        "model.safetensors",
        "image.iso.sha256",
        "access.log.202401",
        "v1.2.3",
        "mod.cpython-311.pyc",
        "sed",
        "sedan.jpg",
        "sediment.csv",
        "zip.txt",
        "49130",
        "tmp.txt",
        "template",
        "tmp_notes.txt",
        "refs_of_the_paper.bib",
        "packs.json",
        "partial.txt",
        "department",
        "locksmith",
        "README",
        "C#",
        "#1.txt",
        "~home",
        ".bashrc",
        ".gitignore",
        ".eslintrc.json",
        "journal",
        "my-journal.txt",
        "pack-f71e745cbf2665a8071b17b01d16669f327816a3.pack",
        "index",
        "COMMIT_EDITMSG",
    ],
)
def test_of_ordinary_shape(name: str) -> None:
    assert not POLICY.temporary(name)


@pytest.mark.parametrize("name", ["Cargo.lock", "sediments", ".app.config", "tmp_data_folder"])
def test_a_false_match_is_a_known_price(name: str) -> None:
    assert POLICY.temporary(name)


def test_only_the_last_component_makes_a_file_temporary() -> None:
    assert not POLICY.temporary("notes.txt")
    assert not POLICY.never_uploaded("work~/notes.txt")


class TestSettings:
    def test_the_lists_are_the_settings(self) -> None:
        policy = NamePolicy(NamesConfig(never_uploaded=("*.secret", "Cache"), temporary=("draft-*",)))
        assert policy.never_uploaded("a/key.secret")
        assert policy.never_uploaded("cache/x")
        assert not policy.never_uploaded("key.SECRET")
        assert not policy.never_uploaded(".DS_Store")
        assert policy.temporary("draft-1")
        assert not policy.temporary("x~")

    def test_empty_lists_match_nothing(self) -> None:
        policy = NamePolicy(NamesConfig(never_uploaded=(), temporary=()))
        for name in ("", "a", ".DS_Store", "x~"):
            assert not policy.never_uploaded(name)
            assert not policy.temporary(name)

    def test_brackets_and_newlines_in_names_are_plain(self) -> None:
        policy = NamePolicy(NamesConfig(never_uploaded=("a[[]1]",), temporary=("*~",)))
        assert policy.never_uploaded("a[1]")
        assert not policy.never_uploaded("a[[]1]")
        assert policy.temporary("two\nlines~")
        assert not policy.temporary("two~\nlines")
