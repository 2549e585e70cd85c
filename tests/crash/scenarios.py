"""The paths through the product of which every step is a crash point."""

from __future__ import annotations

from dataclasses import dataclass

from tests.crash.operations import (
    Append,
    Arm,
    Drain,
    Edit,
    Exchange,
    Link,
    MakeFolder,
    Operation,
    Overtake,
    Poll,
    Read,
    RemoveElsewhere,
    RemoveFolder,
    Rename,
    Restore,
    Settle,
    Sync,
    Tree,
    Truncate,
    Unlink,
    UnlinkWhileOpen,
    UploadElsewhere,
    Walk,
    Write,
    WriteUnsent,
    content,
)

SMALL, LARGE = content(700, 1), content(300_000, 2)
OTHER, LONGER = content(500, 3), content(1500, 4)


@dataclass(frozen=True)
class Scenario:
    """What a victim does, and against which service."""

    operations: tuple[Operation, ...]
    durability: str = "remote"
    # Files that the service has of others, which can be read.
    generated: tuple[tuple[str, bytes], ...] = ()
    # What it has of others in the end that this machine does not show as its own file.
    beside: tuple[bytes, ...] = ()
    # A foreign file had the name, so what was sent without an answer is sent again (W6).
    may_send_twice: bool = False
    # Paths here are not what the service calls the files.
    aliases: bool = False
    # The files that a user finds in the trash once the last operation is done.
    trashed: tuple[bytes, ...] = ()


_MANY = tuple((f"g{number:03}", b"%d" % number) for number in range(230))

SCENARIOS: dict[str, Scenario] = {
    "create": Scenario((Arm(), Write("a", SMALL), Write("large", LARGE), Write("empty", b""), Settle())),
    "create, close local": Scenario(
        (Arm(), Write("a", SMALL), Write("large", LARGE), Write("b", OTHER), Settle()), durability="local"
    ),
    "fsync, and no close yet": Scenario(
        (Arm(), Sync("a", SMALL), Sync("b", LARGE), Append("a", OTHER), Append("b", OTHER), Settle()), durability="local"
    ),
    "overwrite": Scenario((Write("a", SMALL), Settle(), Arm(), Write("a", OTHER), Settle())),
    "overwrite, close local": Scenario(
        (Write("a", SMALL), Settle(), Arm(), Write("a", OTHER), Write("a", LONGER), Settle()), durability="local"
    ),
    "edit": Scenario((Write("a", LARGE), Settle(), Arm(), Edit("a", 1000, SMALL), Settle())),
    "truncate": Scenario(
        (Write("a", LARGE), Settle(), Arm(), Truncate("a", 1000), Settle(), Truncate("a", 2000), Truncate("a", 0), Settle())
    ),
    "rename over": Scenario(
        (Write("a", SMALL), Settle(), Arm(), Write("a.tmp", OTHER), Rename("a.tmp", "a"), Settle())
    ),
    "rename over, close local": Scenario(
        (Write("a", SMALL), Settle(), Arm(), Sync("new", OTHER), Rename("new", "a"),
         Append("a", SMALL, "new"), Settle()), durability="local"
    ),
    "rename over after fsync": Scenario(
        (Write("a", SMALL), Settle(), Arm(), Sync("new", OTHER), Append("new", SMALL), Rename("new", "a"), Settle()),
        durability="local",
    ),
    "backup and rename": Scenario(
        (Write("a", SMALL), Settle(), Arm(), Rename("a", "a~"), Write("a", OTHER), Unlink("a~"), Settle())
    ),
    "unlink": Scenario(
        (Write("a", SMALL), Write("b", OTHER), Settle(), Arm(), Unlink("a"), Settle(), Write("c", SMALL), Unlink("c"),
         Unlink("b"), Settle())
    ),
    "unlink while open": Scenario(
        (Write("a", SMALL), Write("b", LARGE), Settle(), Arm(), UnlinkWhileOpen("a", OTHER), UnlinkWhileOpen("b", OTHER),
         Settle())
    ),
    "link": Scenario(
        (Write("a", SMALL), Settle(), Arm(), Link("a", "b"), Unlink("a"), Settle(), Write("t", OTHER), Unlink("b"),
         Link("t", "b"), Unlink("t"), Settle())
    ),
    "exchange": Scenario(
        (Write("a", SMALL), Write("b", OTHER), Settle(), Arm(), Exchange("a", "b"), Settle(), Write("c", LONGER),
         Exchange("a", "c"), Settle())
    ),
    "folders": Scenario(
        (Arm(), MakeFolder("d"), MakeFolder("d/e"), Write("d/e/f", SMALL), Rename("d", "x"), Settle(), Unlink("x/e/f"),
         RemoveFolder("x/e"), RemoveFolder("x"), Settle())
    ),
    "rename of a large folder": Scenario(
        (MakeFolder("d"), *(MakeFolder(f"d/{number}") for number in range(100)), Write("d/a", SMALL), Write("d/b", OTHER),
         Settle(), Arm(), Rename("d", "x"), Settle())
    ),
    "reupload": Scenario((Write("a", LARGE), Settle(), Arm(), Rename("a", "b"), Settle(), Rename("b", "a"), Settle())),
    "replace what others changed": Scenario(
        (Write("a", SMALL), Settle(), UploadElsewhere("a", LONGER), Arm(), Write("a", OTHER), Settle()),
        beside=(LONGER,), may_send_twice=True, aliases=True,
    ),
    "edit what the service generated": Scenario(
        (Walk(found=(("g", LARGE),)), Arm(), Read("g"), Edit("g", 0, SMALL), Settle()),
        generated=(("g", LARGE),), beside=(LARGE,), may_send_twice=True, aliases=True,
    ),
    "alias of what others made": Scenario(
        (Walk(found=(("g", LARGE),)), Arm(), Rename("g", "h"), Settle(), Read("h"), Unlink("h"), Settle()),
        generated=(("g", LARGE),), aliases=True,
    ),
    "first listing": Scenario(
        (Arm(), Walk(found=_MANY), Read("g007")), generated=_MANY, aliases=True
    ),
    "removed elsewhere": Scenario(
        (Write("a", SMALL), Write("keep", OTHER), Settle(), RemoveElsewhere("a"), Arm(), Poll(), Poll(gone=("a",))),
        trashed=(SMALL,),
    ),
    "restore from the trash": Scenario(
        (Write("a", SMALL), Write("keep", OTHER), Settle(), RemoveElsewhere("a"), Walk(), Walk(gone=("a",)), Arm(),
         Restore(1, "back/a", SMALL), Settle())
    ),
    "keeps changing": Scenario(
        (Arm(), Write("log", LARGE), Overtake("log", SMALL), Overtake("log", OTHER), Overtake("log", LONGER),
         Overtake("log", SMALL), Settle()), durability="local"
    ),
    "keeps changing, from nothing": Scenario(
        (Arm(), Write("log", LARGE), Overtake("log", SMALL), Overtake("log", OTHER, unsent=True),
         WriteUnsent("log", LONGER), Settle()), durability="local"
    ),
    "drain": Scenario(
        (*(Write(f"f{number}", content(900, number)) for number in range(3)), Settle(), Arm(),
         *(Write(f"f{number}", content(1000, number + 10)) for number in range(5)), Unlink("f0"), Drain()),
        durability="local",
    ),
}  # fmt: skip

__all__ = ["SCENARIOS", "Scenario", "Tree"]
