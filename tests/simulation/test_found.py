"""Lives that end badly as soon as the mending of a fault is taken out, each kept as a script."""

from __future__ import annotations

import pytest

from tests.simulation.life import Life, Step, User
from tests.simulation.world import live


def _saved(path: str, slot: int = 0, size: int = 700, stamp: int = 1) -> tuple[Step, ...]:
    return ("open", slot, path, "trunc"), ("write", slot, 0, size, stamp), ("close", slot)


_HIDDEN = tuple(
    step
    for number in range(8)
    for step in (
        *_saved("a", stamp=number),
        ("sleep", 2.0002),
        ("rename", "a", ".DS_Store", 0),
        ("unlink", ".DS_Store"),
    )
)

LIVES = {
    "a file that is emptied, and whose close fails, is closed later": Life(
        1, (User(0, (*_saved("a"), ("sleep", 5.0), ("open", 0, "a", "trunc"), ("sleep", 3.0), ("close", 0), ("sleep", 90.0))),),
        ((7.8, "disk", 0, 0, "commit BUSY"),),
    ),
    "an fsync that failed does not succeed later": Life(
        1, (User(0, (("open", 0, "a", "new"), ("write", 0, 0, 700, 1), ("sleep", 5.0), ("fsync", 0), ("fsync", 0), ("sleep", 5.0))),),
        ((3.0, "disk", 0, 0, "sync EIO"), (8.0, "crash", 0, "steps", 1, "nothing", 0.0)), durability="local",
    ),
    "a task that fails does not end the mount": Life(
        1, (User(0, (*_saved("a"), ("sleep", 60.0), *_saved("b", stamp=2))),), ((20.0, "disk", 0, 0, "query IOERR"),)
    ),
    "an upload is on record before it goes out": Life(
        1, (User(0, (*_saved("a"), ("sleep", 20.0))),), ((1.0, "crash", 0, "points", 9, "nothing", 0.0),), durability="local"
    ),
    "a power cut in the middle of a close leaves no row without its bytes": Life(
        1, (User(0, (("open", 0, "a", "trunc"), ("write", 0, 0, 700, 1), ("sleep", 5.0), ("close", 0), ("sleep", 20.0))),),
        ((2.0, "crash", 0, "points", 5, "bytes", 0.0),), durability="local",
    ),
    "a file that is renamed to stay here is not sent": Life(1, (User(0, _HIDDEN),), durability="local"),
    "a clock that is set back puts nothing to sleep": Life(
        1, (User(0, (("open", 0, "a", "trunc"), ("close", 0))),), ((1.0, "wall", -90_000.0),)
    ),
    "a new file whose first bytes a power cut took goes up empty": Life(
        4016,
        (
            User(0, (("open", 2, "k/c", "trunc"), ("close", 2))),
            User(1, ()),
            User(1, ()),
            User(2, (("sleep", 0.7), ("move", "p", "s/r"), ("sleep", 200.0), ("get", "s/r"), ("sleep", 0.1), ("open", 2, "k/lock~", "trunc"), ("write", 2, 0, 5000, 3001))),
        ),
        ((4.68, "spoil", "list", "500", 1, 2), (15.54, "crash", 2, "points", 32, "bytes", 600.0)),
        machines=3, durability="remote", downloadable=False,
    ),
    "an upload is not bound to an id that is known": Life(
        1, (User(0, (("sleep", 25.0), *_saved("a"), ("sleep", 60.0))),),
        ((1.0, "upload", "theirs", 600, 7, True, 0), (20.0, "spoil", "upload", "the id of another", 0, 1)),
    ),
    "one reply without bytes changes no length": Life(
        1, (User(0, (("sleep", 20.0), ("get", "p"), ("sleep", 60.0), ("get", "p"), ("sleep", 5.0))),),
        ((1.0, "upload", "shared/p", 9000, 7, True, 0), (2.0, "spoil", "content", "no bytes", 0, 1)),
    ),
    "a file of the year 9999 hides no upload whose reply was lost": Life(
        1, (User(0, (("sleep", 16.0), *_saved("a"), ("sleep", 90.0))),),
        (
            (1.0, "upload", "theirs", 600, 7, True, 0), (2.0, "spoil", "list", "dated in the year 9999", 0, 1),
            (3.0, "spoil", "upload", "lost reply", 0, 1),
        ),
    ),
    "a mount whose first request is never answered goes online": Life(
        141, (User(0, (("open", 2, "d/lock~", "trunc"), ("close", 2), ("sleep", 40.0))), User(0, ())),
        ((2.72, "spoil", "list", "silence", 0, 5), (20.66, "crash", 0, "steps", 26, "names", 0.0)),
        durability="remote", downloadable=False,
    ),
    "a mount that knows its files starts while the service is overloaded": Life(
        2025, (User(0, (("sleep", 40.0), ("open", 1, "k/a.tmp", "trunc"))), User(0, ())),
        ((1.28, "crash", 0, "points", 3, "all", 600.0), (3.38, "spoil", "list", "529", 0, 5)),
        durability="remote", downloadable=True,
    ),
    "a conflict copy that is edited takes the plain name": Life(
        5059,
        (
            User(0, (("sleep", 80.0), ("put", "q.txt", 5000, 1105))),
            User(1, (("sleep", 200.0), ("patch", "q.txt", 300, 20, 2002))),
            User(1, (("put", "q.txt", 90, 2101),)),
        ),
        (), machines=2, durability="local",
    ),
    "a reader of a service that hangs waits ten seconds": Life(
        1, (User(0, (("sleep", 40.0), ("list", "d"), ("sleep", 20.0), ("get", "p"))),),
        ((1.0, "upload", "shared/p", 9000, 7, True, 0), (2.0, "spoil", "content", "silence", 0, 5)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIVES)
def test_it_stays_mended(name: str) -> None:
    outcome = live(LIVES[name])
    assert not outcome.complaints, "\n".join([*outcome.told, str(outcome)])
