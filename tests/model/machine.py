"""Random steps, done by the model and by what is tested, and compared after each one.

What is tested has the model's verbs, which raise OSError, and `tree()`.

A failure is printed as the shortest list of steps that hypothesis finds, each a call that a test may repeat:

    state.do(step=('put', 'a', Data(0, 1)))
    state.do(step=('rename', 'a', 'b', 0))
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.model.model import RENAME_EXCHANGE, RENAME_NOREPLACE, Facts, Model, Span

# So few that they meet; those of a shape that is uploaded late, or never, or under another name are among them.
PATHS = (
    "a", "b", "d", "d/a", "d/b", "e", "d/e", "d/e/a", "e/a", "e/b", "a/a", "t~", "d/t~", "._n", "e/._n", "w?:", "d/ä|",
)  # fmt: skip
_OPEN_FLAGS = (
    os.O_RDWR | os.O_CREAT,
    os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    os.O_RDWR,
    os.O_RDONLY,
    os.O_RDWR | os.O_CREAT | os.O_EXCL,
    os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    os.O_RDWR | os.O_TRUNC,
)
_LONG_AGO_NS = 1_000_000_000 * 1_000_000_000


class Data(NamedTuple):
    """Bytes told shortly: which ones, and how many."""

    tag: int
    size: int

    @property
    def content(self) -> bytes:
        pattern = bytes((self.tag + 1) * (i + 1) % 251 + 1 for i in range(min(self.size, 251)))
        return (pattern * (self.size // 251 + 1))[: self.size]


Step = tuple[Any, ...]

_slots = st.integers(0, 2)
_offsets = st.sampled_from([0, 1, 7, 4096, 131_072, 200_000])
_sizes = st.sampled_from([0, 1, 5, 4097, 131_072, 200_001])
_datas = st.builds(Data, st.integers(0, 9), st.sampled_from([1, 3, 4096, 10_000, 131_073]))
_contents = st.builds(Data, st.integers(0, 9), st.sampled_from([0, 1, 3, 4096, 131_073]))
_modes = st.sampled_from([0o644, 0o755, 0o600, 0o2775, 0o4755, 0o1777])


def _steps(model: Model, more: Sequence[str]) -> st.SearchStrategy[Step]:
    """What may come next: mostly what succeeds, as often as its place in the list says."""
    there = [path for path, _ in model.walk()]
    files = [path for path, node in model.walk() if node.is_file]
    anything = st.sampled_from(PATHS)
    known = st.sampled_from(there) | anything if there else anything
    file = st.sampled_from(files) | anything if files else anything
    open_slots = st.sampled_from(sorted(model.slots)) if model.slots else _slots
    kinds: dict[str, tuple[int, tuple[st.SearchStrategy[Any], ...]]] = {
        "put": (6, (anything, _contents)),
        "append": (3, (file, _datas)),
        "overwrite": (3, (file, _offsets, _datas)),
        "truncate": (3, (file, _sizes)),
        "mkdir": (4, (anything, st.sampled_from([0o755, 0o700]))),
        "symlink": (1, (anything, st.just("nowhere/at all"))),
        "link": (3, (file, anything)),
        "unlink": (4, (file,)),
        "rmdir": (2, (known,)),
        "rename": (10, (known, anything, st.sampled_from([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE]))),
        "chmod": (2, (known, _modes)),
        "chown": (2, (known, st.sampled_from([0, 1001]), st.sampled_from([0, 1002]))),
        "utimens": (2, (known, st.sampled_from([_LONG_AGO_NS, _LONG_AGO_NS + 1]))),
        "setxattr": (2, (known, st.sampled_from("xy"), st.binary(max_size=3))),
        "removexattr": (1, (known, st.sampled_from("xy"))),
        "open": (6, (_slots, file, st.sampled_from(_OPEN_FLAGS), st.sampled_from([0o644, 0o600]))),
        "drop_caches": (1, ()),
        "foreign": (2, (anything, _contents, st.booleans())),
    }
    others = [path for path, node in model.walk() if node.foreign_id is not None]
    if others:
        kinds["vanish"] = (1, (st.sampled_from(others),))
    if model.slots:
        kinds |= {
            "write": (8, (open_slots, _offsets, _datas)),
            "read": (2, (open_slots, _offsets, _sizes)),
            "ftruncate": (3, (open_slots, _sizes)),
            "fsync": (1, (open_slots,)),
            "dup": (2, (open_slots, _slots)),
            "close": (6, (open_slots,)),
        }
    kinds |= dict.fromkeys(more, (1, ()))
    verbs = st.sampled_from([verb for verb, (weight, _) in kinds.items() for _ in range(weight)])
    return verbs.flatmap(lambda verb: st.tuples(st.just(verb), *kinds[verb][1]))


class TreeMachine(RuleBasedStateMachine):
    """Does a random step after the other; a subclass says what is tested."""

    # Whether others may upload what the service then gives to nobody (R2).
    knows_unreadable = False
    # Verbs without arguments that happen besides.
    more: Sequence[str] = ()

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.subjects = self.make_subjects()
        # What a subclass proves at the end has a meaning only while all agree.
        self.agreed = True
        self._foreign = 0

    def make_subjects(self) -> list[Any]:
        raise NotImplementedError

    @rule(step=st.runner().flatmap(lambda machine: _steps(machine.model, machine.more)))
    def do(self, step: Step) -> None:
        """One step, everywhere."""
        verb, *arguments = step
        self.agreed = False
        self.model.begin()
        special: dict[str, Callable[..., None]] = {
            "put": self._put,
            "append": self._append,
            "overwrite": self._overwrite,
            "foreign": self._upload,
            "vanish": self._vanish,
        }
        if verb in special:
            special[verb](*arguments)
        else:
            self._do(verb, *(a.content if isinstance(a, Data) else a for a in arguments))
        self.model.end()
        self.compare()
        self.agreed = True

    def replay(self, *steps: Step) -> None:
        """Steps that a test was found to fail with."""
        try:
            for step in steps:
                self.do(step)
        finally:
            self.teardown()

    # -- steps that are several calls

    def _put(self, path: str, data: Data) -> None:
        self._write_and_close(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0, data)

    def _append(self, path: str, data: Data) -> None:
        self._write_and_close(path, os.O_WRONLY | os.O_APPEND, 0, data)

    def _overwrite(self, path: str, offset: int, data: Data) -> None:
        self._write_and_close(path, os.O_RDWR, offset, data)

    def _write_and_close(self, path: str, flags: int, offset: int, data: Data) -> None:
        opened = self._do("open", 9, path, flags, 0o644)
        if opened is None and data.size:
            self._do("write", 9, offset, data.content)
        if opened is None:
            self._do("close", 9)

    def _upload(self, path: str, data: Data, downloadable: bool) -> None:
        """Another client's file, where it has a place of its own."""
        if self.model.is_free_for_others(path):
            self._foreign += 1
            given = downloadable or not self.knows_unreadable
            self._do("foreign", path, data.content, given, f"of-others-{self._foreign}")

    def _vanish(self, path: str) -> None:
        label, gone = self.model.goes_with(path)
        if label is not None:
            self._do("vanish", label, gone)

    # -- doing and comparing

    def _do(self, verb: str, *arguments: Any) -> Any:
        """One call, everywhere; what came of it: the value, or the name of an errno."""
        expected = _attempt(self.model, verb, arguments)
        for subject in self.subjects:
            outcome = _attempt(subject, verb, arguments)
            assert outcome == expected, f"{_name(subject)}: {verb}{arguments}: {outcome!r}, not {expected!r}"
        return expected

    def compare(self) -> None:
        """Every tree is the model's."""
        expected = self.model.tree()
        for subject in self.subjects:
            _assert_same_trees(_name(subject), subject.tree(), expected)


class MountMachine(TreeMachine):
    """With what happens to a mount; what the service has follows each drain."""

    more = ("remount", "crash", "drain")

    def _do(self, verb: str, *arguments: Any) -> Any:
        if verb == "drain":
            # What is open for writing may not be what is to be uploaded.
            for slot in list(self.model.slots):
                super()._do("close", slot)
        outcome = super()._do(verb, *arguments)
        if verb == "drain":
            for subject in self.subjects:
                subject.assert_served(self.model)
        return outcome


def _assert_same_trees(name: str, tree: dict[str, Facts], expected: dict[str, Facts]) -> None:
    assert tree.keys() == expected.keys(), f"{name}: names {sorted(tree)}, not {sorted(expected)}"
    for path, facts in expected.items():
        for field, value, wanted in zip(Facts._fields, tree[path], facts, strict=True):
            same = wanted.covers(value) if isinstance(wanted, Span) else value == wanted
            assert same, f"{name}: {field} of {path} is {_short(value)}, not {_short(wanted)}"


def _attempt(subject: Any, verb: str, arguments: tuple[Any, ...]) -> Any:
    call: Callable[..., Any] = getattr(subject, verb)
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _name(subject: Any) -> str:
    return type(subject).__name__


def _short(value: object) -> str:
    return f"{len(value)} bytes {value[:8]!r}..." if isinstance(value, bytes) and len(value) > 20 else repr(value)


def run(machine: Callable[[], TreeMachine], *, examples: int, steps: int, derandomize: bool = True) -> None:
    """`examples` lists of `steps` steps; the same ones each time with `derandomize`."""
    hypothesis.stateful.run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis has it without types
        machine,
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            deadline=None,
            database=None,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
