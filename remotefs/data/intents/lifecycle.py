"""The life of a file's bytes from the first write to the content store, as a pure state machine (W1-W4, W6, W7).

Written bytes exist nowhere else until the service has them, and the service does not give uploaded bytes back. So the
bytes are in exactly one place at each moment, and every *version* of them has a number that only rises: the generation.

    CLEAN    the bytes are those of the bound id: in the content store, at the service, or still staged
    DIRTY    being written; staged
    CLOSED   closed and to be uploaded; staged (or empty)

              written    restarted  closed    as_before  confirmed(newest)  confirmed(older)
    CLEAN     DIRTY +1   -          CLOSED*   -          CLEAN              CLEAN
    DIRTY     DIRTY      DIRTY +1   CLOSED    CLEAN      DIRTY              DIRTY
    CLOSED    DIRTY +1   DIRTY +1   CLOSED    -          CLEAN              CLOSED

    +1: a new generation     *: a new, empty file, or one that recovery found written
    restarted: all bytes are given up for new ones, which go into a staged file of their own

Invariants, which the property tests prove for every order of events:

1. A generation names one content: it rises with the first write after a close. So the bytes that an upload of
   generation g sent are those of g for ever, and its reply may bind g whatever was written meanwhile (W4).
2. DIRTY bytes are staged. Staged bytes are let go only when the file is CLEAN, because the service has confirmed them
   or they equal the confirmed ones, or when it is restarted, because the writer has given them up.
3. A file becomes CLEAN only when its newest generation is confirmed, or when its bytes equal the confirmed ones.
4. A frozen version has the generation and the bytes of a close, whatever is written, restarted or closed afterwards.

A file that keeps changing has one *frozen* version beside the staged file: the CLOSED generation, kept before the next
write is applied. It is not a state of the file but an upload that nothing can change any more. Its confirmation is that
of an older generation, or of the newest if nothing was written since. Whether it exists decides nothing about the file:
no row records it, and a crash may take it.

A crash between two events leaves the state of the last event that was committed. Recovery closes files that were DIRTY
and finds out, for an upload under way, whether the service got it (`recovery`, `confirmation`).
"""

from __future__ import annotations

from typing import NamedTuple

from remotefs.store.records import ContentState, Inode


class ContentLifecycle(NamedTuple):
    """The columns of an inode that say where its bytes stand; `_asdict()` gives the columns to save."""

    state: ContentState | int
    content_gen: int
    staged_gen: int | None

    @classmethod
    def of(cls, inode: Inode) -> ContentLifecycle:
        """Return the state of an inode's row."""
        return cls(inode.state, inode.content_gen, inode.staged_gen)

    def staged_as(self) -> int:
        """Return the generation in the name of the staged file that a write goes to; a new one if there is none."""
        return self.content_gen + 1 if self.staged_gen is None else self.staged_gen

    def written(self) -> ContentLifecycle:
        """Return the state after a write, the first or any other, into the staged file."""
        if self.state == ContentState.DIRTY:
            return self
        return ContentLifecycle(ContentState.DIRTY, self.content_gen + 1, self.staged_as())

    def restarted(self) -> ContentLifecycle:
        """Return the state after all staged bytes were given up; new bytes go into a new staged file."""
        assert self.staged_gen is not None, "there is nothing to restart"
        return ContentLifecycle(ContentState.DIRTY, self.content_gen + 1, self.content_gen + 1)

    def frozen(self) -> int:
        """Return the generation of the staged bytes, which are kept before they change."""
        assert self.state == ContentState.CLOSED, "only closed bytes can be frozen"
        assert self.staged_gen is not None, "there are no bytes to keep"
        return self.content_gen

    def closed(self) -> ContentLifecycle:
        """Return the state after a close: the bytes are to be uploaded."""
        return self._replace(state=ContentState.CLOSED)

    def as_before(self) -> ContentLifecycle:
        """Return the state after a close that found the bytes equal to those that the service has."""
        assert self.state == ContentState.DIRTY, "only written bytes can turn out to be equal"
        return self._replace(state=ContentState.CLEAN)

    def confirmed(self, generation: int) -> ContentLifecycle:
        """Return the state once the service has `generation`."""
        newest = self.content_gen == generation and self.state != ContentState.DIRTY
        return self._replace(state=ContentState.CLEAN) if newest else self

    def staged(self) -> ContentLifecycle:
        """Return the state after clean content was copied into staging, to outlive the id that it has (W7)."""
        assert self.staged_gen is None, "the content is staged already"
        return self._replace(staged_gen=self.content_gen)

    def promoted(self) -> ContentLifecycle:
        """Return the state after the staged file became content, or was not needed beside it."""
        assert self.state == ContentState.CLEAN, "staged bytes that the service does not have"
        return self._replace(staged_gen=None)

    def found_written(self) -> ContentLifecycle:
        """Return the state after a crash left bytes in the staged file that no row records: a version of their own."""
        return self._replace(state=ContentState.CLOSED, content_gen=self.content_gen + 1)

    @classmethod
    def returned(cls, generation: int) -> ContentLifecycle:
        """Return the state of a file whose row was lost: its staged file of that generation is the newest version."""
        return cls(ContentState.CLOSED, generation, generation)

    def lost(self) -> ContentLifecycle:
        """Return the state after a power cut took the staged file: its bytes were never acknowledged."""
        return self._replace(state=ContentState.CLEAN, staged_gen=None)
