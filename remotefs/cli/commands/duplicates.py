"""Groups files by their contents: pure.

Two files are equal where the sums of all their bytes are. The sum is known for what went up from here, and can be made
of whatever is on this disk; of other files of one size nothing is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from remotefs.cli.listing import Listed


@dataclass(frozen=True)
class Copies:
    """Files of one content; `known_by` says of each whether its sum was known or was made of its bytes now."""

    files: tuple[Listed, ...]
    known_by: tuple[str, ...]

    @property
    def surplus_bytes(self) -> int:
        """Return the bytes of all copies but one."""
        return self.files[0].file.size * (len(self.files) - 1)


def of_equal_size(files: Sequence[Listed]) -> list[Listed]:
    """Return the files that may have a copy: not empty, and as large as another file with another id."""
    by_size = defaultdict[int, list[Listed]](list)
    for listed in files:
        if listed.file.size:
            by_size[listed.file.size].append(listed)
    return [listed for group in by_size.values() if _are_several(group) for listed in group]


def to_read(candidates: Sequence[Listed]) -> list[Listed]:
    """Return the candidates whose sum is not known and can be made, because their bytes are on this disk."""
    return [listed for listed in candidates if listed.file.digest is None and listed.file.here]


def copies_among(candidates: Sequence[Listed], sums: Mapping[str, str]) -> tuple[list[Copies], int]:
    """Return the groups of equal files, the largest surplus first, and the number of files that nothing is known of.

    `sums` has by path those that were made.
    """
    groups = defaultdict[tuple[int, str], list[tuple[Listed, str]]](list)
    unknown = 0
    for listed in candidates:
        made = sums.get(listed.shown)
        digest = listed.file.digest or made
        if digest is None:
            unknown += 1
        else:
            how = "bytes" if listed.file.digest is None else "digest"
            groups[listed.file.size, digest].append((listed, how))
    found = [Copies(*zip(*group, strict=True)) for group in groups.values() if _are_several([f for f, _ in group])]
    return sorted(found, key=lambda copies: -copies.surplus_bytes), unknown


def _are_several(group: Sequence[Listed]) -> bool:
    """Return whether there is more than one file: two names of one id are the same file."""
    ids = [listed.file.file_id for listed in group]
    return len({file_id for file_id in ids if file_id}) + ids.count(None) > 1
