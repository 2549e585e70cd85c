"""The invariants of the life of a file's bytes, for every order of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import DataObject, data, sampled_from

from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.store.records import ContentState


class Lives(RuleBasedStateMachine):
    """One file: what its life says, and beside it which bytes really are where (a number for each content)."""

    def __init__(self) -> None:
        super().__init__()
        self.life = ContentLifecycle(ContentState.CLEAN, 0, None)
        self.content = 0
        self.at_service = 0
        # What a generation was when an upload of it began.
        self.sent: dict[int, int] = {}
        # The generation that is frozen, and the bytes in its file.
        self.frozen: tuple[int, int] | None = None
        # What each close left.
        self.closed: dict[int, int] = {}
        self.newest_gen = 0

    @property
    def state(self) -> ContentState:
        return ContentState(self.life.state)

    @rule()
    def write(self) -> None:
        self.life = self.life.written()
        self.content += 1

    @precondition(lambda self: self.life.staged_gen is not None and self.state != ContentState.CLEAN)
    @rule()
    def begin_anew(self) -> None:
        former = self.life.staged_gen
        self.life = self.life.restarted()
        assert self.life.staged_gen != former, "the new bytes have a file of their own"
        self.content += 1

    @precondition(lambda self: self.state == ContentState.DIRTY)
    @rule()
    def close(self) -> None:
        self.life = self.life.closed()
        self.closed[self.life.content_gen] = self.content

    @precondition(lambda self: self.state == ContentState.CLOSED and self.frozen is None)
    @rule()
    def freeze(self) -> None:
        self.frozen = (self.life.frozen(), self.content)

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def send_what_is_frozen(self) -> None:
        assert self.frozen is not None
        generation, content = self.frozen
        known = self.sent.setdefault(generation, content)
        assert known == content, "one generation, two contents"

    @precondition(lambda self: self.frozen is not None)
    @rule()
    def thaw(self) -> None:
        self.frozen = None

    # While an upload's end is not known, nobody knows what the service has (W6).
    @precondition(lambda self: self.state == ContentState.DIRTY and not self.sent)
    @rule()
    def close_with_what_the_service_has(self) -> None:
        self.content = self.at_service
        self.life = self.life.as_before()
        # The service has the newest already: what is frozen is older.
        self.frozen = None

    @precondition(lambda self: self.state == ContentState.CLOSED)
    @rule()
    def send(self) -> None:
        known = self.sent.setdefault(self.life.content_gen, self.content)
        assert known == self.content, "one generation, two contents"

    @precondition(lambda self: self.sent)
    @rule(choice=data())
    def confirm(self, choice: DataObject) -> None:
        generation = choice.draw(sampled_from(sorted(self.sent)))
        self.at_service = self.sent[generation]
        self.life = self.life.confirmed(generation)
        # An inode has one upload at a time, and an older one is not confirmed after a newer one.
        self.sent = {gen: content for gen, content in self.sent.items() if gen > generation}
        if self.frozen is not None and self.frozen[0] <= generation:
            self.frozen = None

    @precondition(lambda self: self.state == ContentState.CLEAN and self.life.staged_gen is not None)
    @rule()
    def promote_to_content(self) -> None:
        self.life = self.life.promoted()

    @precondition(lambda self: self.state == ContentState.CLEAN and self.life.staged_gen is None)
    @rule()
    def stage_for_a_new_name(self) -> None:
        self.life = self.life.staged()

    @precondition(lambda self: self.life.staged_gen is not None)
    @rule()
    def crash_with_bytes_that_no_row_tells_of(self) -> None:
        self.content += 1
        self.life = self.life.found_written()
        self.closed[self.life.content_gen] = self.content
        self.frozen = None

    @invariant()
    def what_is_frozen_is_what_a_close_left(self) -> None:
        assert self.frozen is None or self.closed[self.frozen[0]] == self.frozen[1]

    @invariant()
    def generations_rise(self) -> None:
        assert self.life.content_gen >= self.newest_gen
        self.newest_gen = self.life.content_gen

    @invariant()
    def what_the_service_lacks_is_staged(self) -> None:
        assert self.life.state == ContentState.CLEAN or self.life.staged_gen is not None

    @invariant()
    def clean_is_what_the_service_has(self) -> None:
        assert self.life.state != ContentState.CLEAN or self.content == self.at_service


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=100, stateful_step_count=40)
