"""The life of a file's bytes between the first write and the content store, as a pure state machine (W1-W4, W6, W7).

Theory. What is written here exists nowhere else until the service has it, and what the service has cannot be read back.
So the bytes have one place at each moment, and every *version* of them a number, the generation, that only rises:

    CLEAN    what the service has under the bound id; in the content store, at the service, or still staged
    DIRTY    being written; staged
    CLOSED   closed, to be uploaded; staged (or empty)

              written    restarted  closed    as_before  confirmed(newest)  confirmed(older)
    CLEAN     DIRTY +1   -          CLOSED*   -          CLEAN              CLEAN
    DIRTY     DIRTY      DIRTY +1   CLOSED    CLEAN      DIRTY              DIRTY
    CLOSED    DIRTY +1   DIRTY +1   CLOSED    -          CLEAN              CLOSED

    +1: a new generation     *: a new, empty file; one that recovery found written
    restarted: all bytes are given up for new ones, which go into a staged file of their own

Invariants, which the property tests prove for every order of events:

1. A generation names one content: it rises with the first write after a close. So what an upload of generation g sent
   is g for ever, and its reply may bind g whatever was written meanwhile (W4).
2. DIRTY bytes are staged, and staged bytes are let go only when CLEAN: the service has confirmed them, or they equal
   what it has; or when restarted: the writer has given them up.
3. CLEAN follows only from the confirmation of the newest generation, or from bytes equal to those confirmed.
4. A frozen version has the generation of a close and its bytes, whatever is written, restarted or closed afterwards.

A file that keeps changing has one *frozen* version beside the staged file: the CLOSED generation, kept before the next
write is applied. It is no state of the file but an upload that nothing can change any more. Its confirmation is that of
an older generation, or of the newest where nothing was written. Whether it is there or gone decides nothing about the
file: so no row tells of it, and a crash may take it.

A crash between two events leaves the state of the last one that was committed; recovery closes what was DIRTY and finds
out, for an upload under way, whether it was confirmed (`recovery`, `upload`).
"""

from __future__ import annotations

from typing import NamedTuple

from remotefs.store.records import ContentState, Inode


class ContentLifecycle(NamedTuple):
    """The columns of an inode that say where its bytes stand; `_asdict()` is what is to be saved."""

    state: ContentState | int
    content_gen: int
    staged_gen: int | None

    @classmethod
    def of(cls, inode: Inode) -> ContentLifecycle:
        """That of an inode."""
        return cls(inode.state, inode.content_gen, inode.staged_gen)

    def staged_as(self) -> int:
        """The generation in the name of the staged file that a write goes to; a new one where there is none."""
        return self.content_gen + 1 if self.staged_gen is None else self.staged_gen

    def written(self) -> ContentLifecycle:
        """The first write, or any other, went into the staged file."""
        if self.state == ContentState.DIRTY:
            return self
        return ContentLifecycle(ContentState.DIRTY, self.content_gen + 1, self.staged_as())

    def restarted(self) -> ContentLifecycle:
        """Nothing of the staged bytes stays, and what comes in their stead goes into a new staged file."""
        assert self.staged_gen is not None, "there is nothing to begin anew"
        return ContentLifecycle(ContentState.DIRTY, self.content_gen + 1, self.content_gen + 1)

    def frozen(self) -> int:
        """The generation that the staged bytes are, to be kept before they change."""
        assert self.state == ContentState.CLOSED, "only what a close left can be frozen"
        assert self.staged_gen is not None, "there are no bytes to keep"
        return self.content_gen

    def closed(self) -> ContentLifecycle:
        """What it holds is to be uploaded."""
        return self._replace(state=ContentState.CLOSED)

    def as_before(self) -> ContentLifecycle:
        """What was written is what the service has."""
        assert self.state == ContentState.DIRTY, "only what was written can turn out to be equal"
        return self._replace(state=ContentState.CLEAN)

    def confirmed(self, generation: int) -> ContentLifecycle:
        """The service has `generation`."""
        newest = self.content_gen == generation and self.state != ContentState.DIRTY
        return self._replace(state=ContentState.CLEAN) if newest else self

    def staged(self) -> ContentLifecycle:
        """Clean content was copied into staging, to outlive the id that it is kept under (W7)."""
        assert self.staged_gen is None, "it is staged already"
        return self._replace(staged_gen=self.content_gen)

    def promoted(self) -> ContentLifecycle:
        """The staged file became content, or is not needed beside it."""
        assert self.state == ContentState.CLEAN, "staged bytes that the service does not have"
        return self._replace(staged_gen=None)

    def found_written(self) -> ContentLifecycle:
        """After a crash: the staged file holds something that nobody recorded. It is a version of its own."""
        return self._replace(state=ContentState.CLOSED, content_gen=self.content_gen + 1)

    @classmethod
    def returned(cls, generation: int) -> ContentLifecycle:
        """After its record was lost: a staged file of that generation is all that is known, and the newest there is."""
        return cls(ContentState.CLOSED, generation, generation)

    def lost(self) -> ContentLifecycle:
        """After a power cut: the staged file is not there, so it was never acknowledged."""
        return self._replace(state=ContentState.CLEAN, staged_gen=None)
