"""Random steps, done by the model and by what is tested, and compared after each one.

A failure is printed as the shortest list of steps that hypothesis finds, each a call that a test may repeat:

    state.put(path='a', data=Data(tag=0, size=1))
    state.rename(old='a', new='b', flags=0)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.model.model import RENAME_EXCHANGE, RENAME_NOREPLACE, Facts, Model

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


class Subject(Protocol):
    """What is compared with the model. It has the model's verbs, which raise OSError, and these."""

    def tree(self) -> dict[str, Facts]: ...

    def mtimes(self) -> dict[str, int]: ...


paths = st.sampled_from(PATHS)
slots = st.integers(0, 2)
offsets = st.sampled_from([0, 1, 7, 4096, 131_072, 200_000])
sizes = st.sampled_from([0, 1, 5, 4097, 131_072, 200_001])
datas = st.builds(Data, st.integers(0, 9), st.sampled_from([1, 3, 4096, 10_000, 131_073]))
contents = st.builds(Data, st.integers(0, 9), st.sampled_from([0, 1, 3, 4096, 131_073]))


class TreeMachine(RuleBasedStateMachine):
    """The rules; a subclass says what is tested."""

    # Whether others may upload what the service then gives to nobody (R2).
    knows_unreadable = False

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.subjects = self.make_subjects()
        self._foreign = 0

    def make_subjects(self) -> list[Any]:
        raise NotImplementedError

    # -- names

    @rule(path=paths, mode=st.sampled_from([0o755, 0o700]))
    def mkdir(self, path: str, mode: int) -> None:
        self._step("mkdir", path, mode)

    @rule(path=paths)
    def symlink(self, path: str) -> None:
        self._step("symlink", path, "nowhere/at all")

    @rule(old=paths, new=paths)
    def link(self, old: str, new: str) -> None:
        self._step("link", old, new)

    @rule(path=paths)
    def unlink(self, path: str) -> None:
        self._step("unlink", path)

    @rule(path=paths)
    def rmdir(self, path: str) -> None:
        self._step("rmdir", path)

    @rule(old=paths, new=paths, flags=st.sampled_from([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE]))
    def rename(self, old: str, new: str, flags: int) -> None:
        self._step("rename", old, new, flags)

    @rule(old=paths, new=paths)
    def move(self, old: str, new: str) -> None:
        self._step("rename", old, new, 0)

    # -- attributes

    @rule(path=paths, mode=st.sampled_from([0o644, 0o755, 0o600, 0o2775, 0o4755, 0o1777]))
    def chmod(self, path: str, mode: int) -> None:
        self._step("chmod", path, mode)

    @rule(path=paths, uid=st.sampled_from([0, 1001]), gid=st.sampled_from([0, 1002]))
    def chown(self, path: str, uid: int, gid: int) -> None:
        self._step("chown", path, uid, gid)

    @rule(path=paths, at=st.sampled_from([_LONG_AGO_NS, _LONG_AGO_NS + 1]))
    def utimens(self, path: str, at: int) -> None:
        self._step("utimens", path, at)

    @rule(path=paths, name=st.sampled_from("xy"), value=st.binary(max_size=3))
    def setxattr(self, path: str, name: str, value: bytes) -> None:
        self._step("setxattr", path, name, value)

    @rule(path=paths, name=st.sampled_from("xy"))
    def removexattr(self, path: str, name: str) -> None:
        self._step("removexattr", path, name)

    @rule(path=paths, size=sizes)
    def truncate(self, path: str, size: int) -> None:
        self._step("truncate", path, size)

    # -- whole files

    @rule(path=paths, data=contents)
    def put(self, path: str, data: Data) -> None:
        self._write_and_close(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0, data)

    @rule(path=paths, data=datas)
    def append(self, path: str, data: Data) -> None:
        self._write_and_close(path, os.O_WRONLY | os.O_APPEND, 0, data)

    @rule(path=paths, offset=offsets, data=datas)
    def overwrite(self, path: str, offset: int, data: Data) -> None:
        self._write_and_close(path, os.O_RDWR, offset, data)

    def _write_and_close(self, path: str, flags: int, offset: int, data: Data) -> None:
        opened = self._step("open", 9, path, flags, 0o644)
        if opened is None and data.size:
            self._step("write", 9, offset, data.content)
        if opened is None:
            self._step("close", 9)

    # -- open files

    @rule(slot=slots, path=paths, flags=st.sampled_from(_OPEN_FLAGS), mode=st.sampled_from([0o644, 0o600]))
    def open(self, slot: int, path: str, flags: int, mode: int) -> None:
        self._step("open", slot, path, flags, mode)

    @precondition(lambda self: self.model.slots)
    @rule(slot=slots, other=slots)
    def dup(self, slot: int, other: int) -> None:
        self._step("dup", slot, other)

    @precondition(lambda self: self.model.slots)
    @rule(slot=slots, offset=offsets, data=datas)
    def write(self, slot: int, offset: int, data: Data) -> None:
        self._step("write", slot, offset, data.content)

    @precondition(lambda self: self.model.slots)
    @rule(slot=slots, offset=offsets, size=sizes)
    def read(self, slot: int, offset: int, size: int) -> None:
        self._step("read", slot, offset, size)

    @precondition(lambda self: self.model.slots)
    @rule(slot=slots, size=sizes)
    def ftruncate(self, slot: int, size: int) -> None:
        self._step("ftruncate", slot, size)

    @precondition(lambda self: self.model.slots)
    @rule(slot=slots)
    def fsync(self, slot: int) -> None:
        self._step("fsync", slot)

    @precondition(lambda self: self.model.slots)
    @rule(slot=slots)
    def close(self, slot: int) -> None:
        self._step("close", slot)

    # -- what happens to a mount

    @rule(path=paths, data=contents, downloadable=st.booleans())
    def foreign(self, path: str, data: Data, downloadable: bool) -> None:
        if self.model.is_free_for_others(path):
            self._foreign += 1
            given = downloadable or not self.knows_unreadable
            self._step("foreign", path, data.content, given, f"of-others-{self._foreign}")

    @rule()
    def drop_caches(self) -> None:
        self._step("drop_caches")

    # -- doing and comparing

    def _step(self, verb: str, *arguments: Any) -> Any:
        """Do it everywhere; what came of it: the value, or the name of an errno."""
        self.model.begin()
        expected = _attempt(self.model, verb, arguments)
        for subject in self.subjects:
            outcome = _attempt(subject, verb, arguments)
            assert outcome == expected, f"{_name(subject)}: {verb}{arguments}: {outcome!r}, not {expected!r}"
        self.model.end()
        self.compare()
        return expected

    def compare(self) -> None:
        """Every tree is the model's."""
        expected = self.model.tree()
        for subject in self.subjects:
            _assert_same_trees(_name(subject), subject.tree(), expected)
            mtimes = subject.mtimes()
            wrong = {path: (mtimes[path], node.mtime) for path, node in self.model.walk() if not node.mtime.covers(mtimes[path])}
            assert not wrong, f"{_name(subject)}: times of change: {wrong}"


def _assert_same_trees(name: str, tree: dict[str, Facts], expected: dict[str, Facts]) -> None:
    assert tree.keys() == expected.keys(), f"{name}: names {sorted(tree)}, not {sorted(expected)}"
    for path, facts in expected.items():
        for field, value, wanted in zip(Facts._fields, tree[path], facts, strict=True):
            assert value == wanted, f"{name}: {field} of {path} is {_short(value)}, not {_short(wanted)}"


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
