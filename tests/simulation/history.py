"""What of a tree may be found after a crash: its shapes over time, the bytes of each file, and what was acknowledged.

A kill leaves all that was done. A power cut leaves a moment not before the last acknowledgement: the names of that
moment, and of each file a mixture of the bytes that it had since its own last acknowledgement (W3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.model.model import Description, Facts, Model, Node


class Entry(NamedTuple):
    """One name at one moment: the node, and what of it changes together with names."""

    node: Node
    mode: int
    target: str | None
    xattrs: tuple[tuple[str, bytes], ...]


Shape = Mapping[str, Entry]


def shape_of(model: Model) -> Shape:
    """Return all names as they are now."""
    return {
        path: Entry(node, node.mode, node.target, tuple(sorted(node.xattrs.items()))) for path, node in model.walk()
    }


@dataclass
class History:
    """What one machine's own files went through since it started."""

    model: Model
    shapes: list[Shape] = field(default_factory=list)
    # All contents of a file since its last acknowledgement; the last is that of now.
    contents: dict[Node, list[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.named()

    def named(self) -> None:
        """Note that names have changed."""
        shape = shape_of(self.model)
        if not self.shapes or self.shapes[-1] != shape:
            self.shapes.append(shape)

    @property
    def moment(self) -> Shape:
        """Return the names as of the last change, to be acknowledged later."""
        return self.shapes[-1]

    def changed(self, node: Node, before: bytes) -> None:
        """Note that bytes have changed; they were `before`."""
        self.contents.setdefault(node, [before]).append(node.data)

    def acknowledged(self, node: Node, data: bytes) -> None:
        """Note that a file survives a power cut with that content, or a later one."""
        versions = self.contents.get(node, [node.data])
        at = len(versions) - 1 - versions[::-1].index(data) if data in versions else 0
        self.contents[node] = versions[at:]

    def names_acknowledged(self, shape: Shape) -> None:
        """Note that the names of that moment survive a power cut, or later ones."""
        for at, one in enumerate(self.shapes):
            if one is shape:
                del self.shapes[:at]
                return

    def versions(self, node: Node) -> Sequence[bytes]:
        """Return the contents that a power cut may leave."""
        return self.contents.get(node, [node.data])


class Found(NamedTuple):
    """One name after a recovery: its facts, and the number that its other names share."""

    facts: Facts
    ino: int


def disagreement(found: Mapping[str, Found], shape: Shape, versions: Callable[[Node], Sequence[bytes]]) -> str | None:
    """Return in what a tree that was found is not that of a moment; None when it is."""
    if missing := sorted(set(shape) - set(found)):
        return f"{missing[0]} is missing"
    if surplus := sorted(set(found) - set(shape)):
        return f"{surplus[0]} is there again"
    numbers: dict[Node, int] = {}
    for path, entry in shape.items():
        facts, ino = found[path]
        if numbers.setdefault(entry.node, ino) != ino:
            return f"{path} is another file than its other names"
        if (wrong := _difference(facts, entry, versions(entry.node))) is not None:
            return f"{path} {wrong}"
    return None


def _difference(facts: Facts, entry: Entry, versions: Sequence[bytes]) -> str | None:
    node = entry.node
    kind = "l" if entry.target is not None else "d" if node.is_dir else "-"
    if facts.mode[0] != kind:
        return f"is {facts.mode}, not {kind}"
    if facts.target != entry.target or tuple(sorted(facts.xattrs.items())) != entry.xattrs:
        return "has another target or other attributes"
    if kind == "-" and facts.data is None:
        return "cannot be read"
    if kind == "-" and facts.data is not None and not is_mixture(facts.data, versions):
        return f"has {brief(facts.data)}, not {' or '.join(map(brief, versions[-3:]))}"
    return None


def is_mixture(found: bytes, versions: Sequence[bytes]) -> bool:
    """Return whether each byte is that of one version; zero where a version is shorter than the file was."""
    if found in versions:
        return True
    if len(versions) == 1 or len(found) not in {len(one) for one in versions}:
        return False
    shortest = min(len(one) for one in versions)
    return all(
        any(one[at : at + 1] == found[at : at + 1] for one in versions) or (at >= shortest and not found[at])
        for at in range(len(found))
    )


def undo_of(model: Model) -> Callable[[], None]:
    """Return what brings a model back to the names, bytes and descriptors that it has now."""
    nodes = {model.root, *(node for _, node in model.walk()), *(one.node for one in model.slots.values())}
    kept = [(node, dict(node.entries), node.nlink, node.mode, node.data, dict(node.xattrs)) for node in nodes]
    slots: dict[int, Description] = dict(model.slots)

    def undo() -> None:
        for node, entries, nlink, mode, data, xattrs in kept:
            node.entries, node.nlink, node.mode, node.data, node.xattrs = entries, nlink, mode, data, xattrs
        model.slots = slots

    return undo


def brief(data: bytes) -> str:
    """Return bytes as a person wants to see them."""
    return f"{data!r}" if len(data) <= 16 else f"{data[:12]!r}… ({len(data)} bytes)"
