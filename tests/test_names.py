"""N1-N4: what stands in the service's list for each path, and where each remote file is shown."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from remotefs import names
from remotefs.errors import BadName, InvalidArgument, NameTooLong

FORBIDDEN = '<>:"|?*\\/' + "".join(map(chr, range(0x20)))
TWINS = "＜＞：＂｜？＊＼／␁␉␊␟"
SHARP = FORBIDDEN[:9] + TWINS + names.QUOTE + " ..\t\n\x01\x1f\x7f\u00a0\u3000\ufeff\u2400\u2420．é\u0301aZ😀[]~"

characters = st.one_of(st.sampled_from(SHARP), st.characters(exclude_categories=["Cs"]))
components = (
    st
    .text(characters, min_size=1, max_size=300)
    .map(lambda text: text.replace("/", "").replace("\0", ""))
    .filter(lambda text: text not in ("", ".", "..") and len(text.encode()) <= 255)
)
short_components = components.map(lambda text: text[:5]).filter(lambda text: text not in (".", ".."))
short_paths = st.lists(short_components, min_size=1, max_size=4).map("/".join)
long_paths = st.lists(components, min_size=1, max_size=8).map("/".join)
paths = st.one_of(short_paths, long_paths)
hostile = st.one_of(
    st.text(st.sampled_from(SHARP + "\0\ud800\udfff"), max_size=12),
    st.text(st.one_of(characters, st.just("\ud83d"), st.just("\0")), max_size=600),
    st.lists(st.sampled_from(["", ".", "..", "a", ".remotefs", "é" * 128, "\0", " "]), max_size=5).map("／".join),
    st.lists(st.sampled_from(["", ".", "..", "a", "etc"]), max_size=5).map("/".join),
)
file_ids = st.one_of(
    st.just("file_011CNha8iCJcU1wXNR6q4V8w"), st.text(st.sampled_from("aB3_-"), min_size=1, max_size=100), hostile
)
good_ids = st.text(st.sampled_from("aB3_-"), min_size=1, max_size=100)
ID = "file_011CNha8iCJcU1wXNR6q4V8w"


def assert_legal(component: str) -> None:
    assert component not in ("", ".", "..")
    assert "/" not in component
    assert "\0" not in component
    assert len(component.encode()) <= 255


def free(_name: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("report.pdf", "report.pdf"),
        ("a/b/c.txt", "a／b／c.txt"),
        ('<>:"|?*\\', "＜＞：＂｜？＊＼"),
        ("tab\tline\nesc\x1f", "tab␉line␊esc␟"),
        ("\x01", "␁"),
        # what would read as something else is quoted, the quote too
        ("a／b", "a‛／b"),
        ("what？", "what‛？"),
        ("␉", "‛␉"),
        ("‛tis", "‛‛tis"),
        ("x‛", "x‛‛"),
        ("a‛/b", "a‛‛／b"),
        ("a/‛／b", "a／‛‛‛／b"),
        ("‛？/?‛", "‛‛‛？／？‛‛"),
        # the ends of the whole name are shielded
        ("notes.", "notes.‛"),
        ("notes. . ", "notes. . ‛"),
        ("notes.‛", "notes.‛‛"),
        ("...", "...‛"),
        (" notes", "‛ notes"),
        (" ", "‛ ‛"),
        ("\u3000全角\u00a0", "‛\u3000全角\u00a0‛"),
        ("\ufeffbom", "‛\ufeffbom"),
        # inside the name nothing strips them
        ("v1./ a /b", "v1.／ a ／b"),
        (".bashrc", ".bashrc"),
        ("a/.git/config", "a／.git／config"),
        # plain text to the service
        ("．␠␀", "．␠␀"),
        ("del\x7f\u202e\u0085x", "del\x7f\u202e\u0085x"),
        ("👩‍👩‍👧.png", "👩‍👩‍👧.png"),
        ("100%22.txt", "100%22.txt"),
    ],
)
def test_a_path_and_its_remote_name(path: str, remote: str) -> None:
    assert names.encode(path) == remote
    assert names.decode(remote) == path
    assert names.place(remote, ID) == tuple(path.split("/"))


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("", f"unnamed [{ID}]"),
        (".", f". [{ID}]"),
        ("..", f".. [{ID}]"),
        ("a／／b", f"a／／b [{ID}]"),
        ("／etc／passwd", f"／etc／passwd [{ID}]"),
        ("..／..／etc／x.txt", f"..／..／etc／x [{ID}].txt"),
        ("a／.", f"a／. [{ID}]"),
        ("a／", f"a／ [{ID}]"),
        ("../../etc/passwd", f"..／..／etc／passwd [{ID}]"),
        ("nul\0.txt", f"nul␀ [{ID}].txt"),
        ("line\nbreak.txt", f"line␊break [{ID}].txt"),
        ("data: 5.csv", f"data： 5 [{ID}].csv"),
        ("notes.", f"notes. [{ID}]"),
        (" notes.txt", f" notes [{ID}].txt"),
        ("x‛", f"x‛ [{ID}]"),
        ("‛tis.txt", f"‛tis [{ID}].txt"),
        ("half \ud83d.png", f"half \ufffd [{ID}].png"),
        (".remotefs", f".remotefs [{ID}]"),
        (".remotefs／by-id／x", f".remotefs／by-id／x [{ID}]"),
        ("é" * 128 + ".txt", "é" * 109 + f" [{ID}].txt"),
    ],
)
def test_a_remote_name_that_no_path_has_is_shown_under_a_safe_one(remote: str, shown: str) -> None:
    assert names.place(remote, ID) == (shown,)
    assert_legal(shown)


def test_only_the_root_is_reserved() -> None:
    assert names.place("a／.remotefs", ID) == ("a", ".remotefs")
    assert names.place(".remotefsx", ID) == (".remotefsx",)


def test_a_foreign_name_with_a_fullwidth_slash_is_a_file_in_a_folder() -> None:
    assert names.place("x／y.txt", ID) == ("x", "y.txt")


def test_a_foreign_name_longer_than_the_budget_is_shown_where_it_says() -> None:
    assert names.place("／".join(["d" * 100] * 5), ID) == ("d" * 100,) * 5


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "./a", "a\0", "\ud800", "é" * 128, "😀" * 64]
)
def test_what_is_no_path_is_not_encoded(path: str) -> None:
    with pytest.raises(InvalidArgument):
        names.encode(path)
    with pytest.raises(InvalidArgument):
        names.remote_name(path)


@given(paths)
def test_decode_undoes_encode(path: str) -> None:
    assert names.decode(names.encode(path)) == path


@given(hostile)
def test_what_decodes_is_what_encode_makes(remote: str) -> None:
    path = names.decode(remote)
    assert path is None or names.encode(path) == remote


@given(short_paths, short_paths)
def test_two_paths_never_share_a_name(one: str, other: str) -> None:
    assume(one != other)
    assert names.encode(one) != names.encode(other)


@given(paths)
def test_the_service_takes_and_keeps_every_name(path: str) -> None:
    for name in (names.encode(path), names.remote_name(path)):
        assert not set(name) & set(FORBIDDEN)
        assert name == name.strip().rstrip(". \ufeff")


@given(short_paths)
def test_normal_forms_and_cases_stay_apart(path: str) -> None:
    forms = {path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path), path.upper(), path.lower()}
    assert {names.decode(names.encode(form)) for form in forms} == forms


@given(hostile, file_ids)
def test_nothing_from_the_service_escapes_the_mount(remote: str, file_id: str) -> None:
    place = names.place(remote, file_id)
    assert place
    for component in place:
        assert_legal(component)
    assert place[0] != names.RESERVED
    assert_legal(names.safe_name(remote, file_id))


@given(hostile, good_ids)
def test_a_safe_name_carries_the_id(remote: str, file_id: str) -> None:
    assert f"[{file_id}]" in names.safe_name(remote, file_id)


@given(hostile, file_ids, file_ids)
def test_safe_names_of_two_files_differ(remote: str, one: str, other: str) -> None:
    assume(one != other)
    assert names.safe_name(remote, one) != names.safe_name(remote, other)


class TestBudget:
    @given(paths)
    def test_every_name_fits_and_can_be_shown_elsewhere(self, path: str) -> None:
        name = names.remote_name(path)
        assert 1 <= len(name.encode()) <= names.BUDGET_BYTES
        elsewhere = names.decode(name)
        assert elsewhere is not None
        assert (elsewhere == path) == (names.encode(path) == name)
        for component in elsewhere.split("/"):
            assert_legal(component)

    @given(long_paths, short_components)
    def test_two_long_paths_differ(self, path: str, last: str) -> None:
        assert names.remote_name(path) != names.remote_name(f"{path}/{last}")

    @pytest.mark.parametrize("path", ["x" * 255, "é" * 127, "x" * 252 + ":", "d/" + "x" * 250, "x" * 251 + "."])
    def test_up_to_255_bytes_go_as_they_are(self, path: str) -> None:
        assert names.remote_name(path) == names.encode(path)

    @pytest.mark.parametrize(
        "path", ["x" * 253 + ":", "d/" + "x" * 252, "x" * 252 + ".", " " + "x" * 252, "é" * 127 + "/x"]
    )
    def test_one_more_is_shortened(self, path: str) -> None:
        assert names.remote_name(path) != names.encode(path)

    def test_the_start_and_a_short_extension_stay(self) -> None:
        path = "photos/2024/" + "é" * 110 + "/" + "ü" * 60 + ".tar.gz"
        name = names.remote_name(path)
        assert name != names.encode(path)
        assert name.startswith("photos／2024／éé")
        assert name.endswith(".tar.gz")
        assert names.remote_name(path) == name

    def test_the_same_start_and_end_do_not_make_one_name(self) -> None:
        start, end = "d" * 200 + "/" + "x" * 100, "y" * 50 + ".txt"
        assert len({names.remote_name(f"{start}{middle}{end}") for middle in "abcdefgh"}) == 8

    @pytest.mark.parametrize("pad", range(12))
    def test_no_cut_halves_a_quoted_character(self, pad: int) -> None:
        path = "p" * pad + "‛" + "／" * 60
        name = names.remote_name(path)
        assert 247 <= len(name.encode()) <= 252  # six bytes a character, three kept for a shield
        shown = names.decode(name)
        assert shown is not None
        start, _, _ = shown.partition("~")
        assert path.startswith(start)

    @pytest.mark.parametrize(("start", "length"), [("x", 252), (" ", 255)])
    @pytest.mark.parametrize("end", ["", ".txt", ".tar.gz"])
    def test_all_the_room_is_used(self, start: str, end: str, length: int) -> None:
        path = f"{start}{'x' * 20}/{'x' * 240}{end}"
        assert len(names.remote_name(path).encode()) == length


class TestConflictCopies:
    @pytest.mark.parametrize(
        ("component", "name"),
        [
            ("f", "f [ID]"),
            ("f.txt", "f [ID].txt"),
            ("f.tar.gz", "f [ID].tar.gz"),
            (".bashrc", ".bashrc [ID]"),
            (".tar.gz", ".tar [ID].gz"),
            ("..x.txt", "..x [ID].txt"),
            ("Mr. Smith", "Mr. Smith [ID]"),
            ("ends.", "ends. [ID]"),
            ("a [b] 2.txt", "a [b] 2 [ID].txt"),
            ("line\nbreak.txt", "line\nbreak [ID].txt"),
        ],
    )
    def test_spelling(self, component: str, name: str) -> None:
        shown = name.replace("ID", ID)
        assert names.conflict_name(component, ID, free) == shown
        assert names.clash_name(component, ID, free) == shown

    def test_a_taken_name_passes_to_the_next_free(self) -> None:
        taken = {f"f [{ID}].txt", f"f [{ID}] 2.txt"}
        shown = names.conflict_name("f.txt", ID, taken.__contains__)
        assert shown == f"f [{ID}] 3.txt"

    @pytest.mark.parametrize("component", ["é" * 127, "x" * 251 + ".txt", "😀" * 60 + ".safetensors"])
    def test_a_long_stem_is_cut_between_characters(self, component: str) -> None:
        shown = names.conflict_name(component, ID, free)
        assert 252 <= len(shown.encode()) <= 255
        assert f" [{ID}]" in shown
        assert os.path.splitext(shown)[1] == os.path.splitext(component)[1]

    @given(components, file_ids, st.integers(0, 12))
    def test_every_conflict_copy_is_legal_and_free(self, component: str, file_id: str, tries: int) -> None:
        seen: list[str] = []

        def taken(name: str) -> bool:
            seen.append(name)
            return len(seen) <= tries

        shown = names.conflict_name(component, file_id, taken)
        assert shown == seen[-1]
        assert len(set(seen)) == tries + 1
        assert_legal(shown)


class TestCheckComponent:
    @given(components)
    def test_every_legal_name_passes_as_it_is(self, component: str) -> None:
        assert names.check_component(component.encode()) == component

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            (b"x" * 256, NameTooLong),
            ("é".encode() * 128, NameTooLong),
            (b"\xff" * 256, NameTooLong),
            (b"\xff", BadName),
            (b"caf\xe9.txt", BadName),
            (b"\xed\xa0\x80", BadName),
            (b"", InvalidArgument),
            (b".", InvalidArgument),
            (b"..", InvalidArgument),
            (b"a/b", InvalidArgument),
            (b"a\0b", InvalidArgument),
        ],
    )
    def test_refusals(self, name: bytes, error: type[Exception]) -> None:
        with pytest.raises(error):
            names.check_component(name)

    def test_255_bytes_are_a_name(self) -> None:
        assert names.check_component(b"x" * 255) == "x" * 255
