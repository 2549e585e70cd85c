"""What a listing proves of an upload whose reply was lost (W6)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs.api.models import FileMetadata
from remotefs.data.writeback.readback import OVERLAP_NS, choose
from remotefs.store.records import Attempt, Origin, Remote

ATTEMPT = Attempt("a.txt", 5, at_ns=0, newest_ns=10 * OVERLAP_NS, generation=1)


def listed(file_id: str, filename: str = "a.txt", size: int = 5) -> FileMetadata:
    return FileMetadata(
        id=file_id, filename=filename, size_bytes=size, mime_type="text/plain", created_ns=ATTEMPT.newest_ns + 1
    )


def namesake(origin: Origin) -> Remote:
    return Remote("file_before", "a.txt", 5, "text/plain", 1, None, downloadable=False, origin=origin)


FILES = st.lists(
    st.builds(
        listed,
        st.sampled_from(["file_1", "file_2", "file_3", "file_4"]),
        st.sampled_from(["a.txt", "b.txt"]),
        st.sampled_from([5, 6]),
    ),
    unique_by=lambda file: file.id,
)
KNOWN = st.sets(st.sampled_from(["file_1", "file_2", "file_3"]))
NAMESAKES = st.lists(st.sampled_from(list(Origin)).map(namesake))


@settings(deadline=None, max_examples=50)
@given(FILES, NAMESAKES, KNOWN)
def test_only_an_unknown_file_that_fits_is_adopted(
    files: list[FileMetadata], namesakes: list[Remote], known: set[str]
) -> None:
    found = choose(ATTEMPT, files, namesakes, known.__contains__)
    if found is not None:
        assert (found.filename, found.size_bytes) == (ATTEMPT.name, ATTEMPT.size)
        assert found.id not in known


@settings(deadline=None, max_examples=50)
@given(FILES, NAMESAKES, KNOWN)
def test_nothing_is_adopted_under_a_name_that_others_used(
    files: list[FileMetadata], namesakes: list[Remote], known: set[str]
) -> None:
    theirs = [*namesakes, namesake(Origin.FOREIGN)]
    assert choose(ATTEMPT, files, theirs, known.__contains__) is None


def test_one_candidate_is_found_among_others() -> None:
    files = [listed("file_1", "b.txt"), listed("file_2"), listed("file_3", size=6)]
    found = choose(ATTEMPT, files, [namesake(Origin.OURS)], lambda _: False)
    assert found is not None
    assert found.id == "file_2"


def test_two_candidates_prove_nothing() -> None:
    assert choose(ATTEMPT, [listed("file_1"), listed("file_2")], [], lambda _: False) is None
