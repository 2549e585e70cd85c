"""What is known of every id and of every content that users of several machines share, to judge what went away.

Contents are unlike each other, so a content stands for the promise to keep it: it is *acknowledged* when a close
returned, and *given up* when a user replaces or removes the file that holds it, as that user sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults import FaultyServer


@dataclass
class Ledger:
    """The service's ids, and the contents of shared files."""

    server: FaultyServer
    # Machines by the ids that they uploaded; None: others.
    made_by: dict[str, int | None] = field(default_factory=dict)
    # What each id held.
    contents: dict[str, bytes] = field(default_factory=dict)
    # By machine the ids that its users unlinked or replaced.
    given_up: dict[int, set[str]] = field(default_factory=dict)
    # Contents that a user may rely on, with the path and the machine where they were made.
    acknowledged: dict[bytes, tuple[int, str]] = field(default_factory=dict)
    dropped: set[bytes] = field(default_factory=set)
    # Ids of which somebody else has asked for the removal.
    removed_elsewhere: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def uploaded(self, file_id: str, machine: int | None, data: bytes) -> None:
        """Note that the service has a new file."""
        self.made_by[file_id], self.contents[file_id] = machine, data

    def give_up(self, machine: int, file_id: str | None, data: bytes | None) -> None:
        """Note that a user is about to replace or to unlink a file with that id or those bytes."""
        if file_id is not None:
            self.given_up.setdefault(machine, set()).add(file_id)
            if file_id in self.contents:
                self.dropped.add(self.contents[file_id])
        if data is not None:
            self.dropped.add(data)

    def may_delete(self, machine: int, file_id: str) -> bool:
        """Return whether a machine may ask for the removal of an id (S3)."""
        return self.made_by.get(file_id, -1) == machine or file_id in self.given_up.get(machine, ())

    def owed(self) -> dict[bytes, tuple[int, str]]:
        """Return the contents that have to be somewhere."""
        return {data: where for data, where in self.acknowledged.items() if data not in self.dropped}
