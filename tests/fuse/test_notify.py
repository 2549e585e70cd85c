"""Telling the kernel, without a kernel: silent before the start and after the stop; never in the caller's thread."""

from __future__ import annotations

import threading
from typing import cast

import trio

from remotefs.fuse.notify import KernelNotifier
from remotefs.store.records import ROOT_INO
from remotefs.vfs.view import View


class Beginning:
    """A view as far as the notifier looks at one."""

    def __init__(self, root_ino: int = ROOT_INO) -> None:
        self.root_ino = root_ino


WHOLE = cast("View", Beginning())


def waiting_thread() -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == "kernel-notifier"), None)


def test_it_is_silent_until_started_and_after_the_stop() -> None:
    asked: list[int] = []
    told: list[object] = []
    notifier = KernelNotifier(lambda ino: bool(asked.append(ino)) or ino == 5, WHOLE)
    notifier.entry(5, "a")
    notifier.inode(5)
    notifier.stop()
    assert asked == []
    assert waiting_thread() is None
    told_in_time = threading.Event()

    def drop_entry(*entry: object) -> None:
        told.append(entry)
        told_in_time.set()

    notifier.start(drop_entry, told.append)
    thread = waiting_thread()
    assert thread is not None
    notifier.entry(5, "a")
    notifier.inode(6)
    assert told_in_time.wait(10)
    notifier.stop()
    assert notifier.join(10)
    assert not thread.is_alive()
    assert told == [(5, "a")]
    assert asked == [5, 6]
    notifier.inode(7)
    assert asked == [5, 6]


async def test_m5_no_notification_is_sent_while_they_are_held_back() -> None:
    """A process of the mount is in a call then, with a lock of the kernel that the notification would wait for."""
    told: list[object] = []
    in_time = threading.Event()

    def drop_entry(*entry: object) -> None:
        told.append(entry)
        in_time.set()

    notifier = KernelNotifier(lambda _: True, WHOLE)
    notifier.start(drop_entry, told.append)
    async with notifier.held_back():
        notifier.entry(5, "a")
        assert not in_time.wait(0.1)
    assert in_time.wait(10)
    assert told == [(5, "a")]
    notifier.stop()
    assert notifier.join(10)


async def test_m5_a_notification_that_is_being_sent_is_waited_for() -> None:
    begun, free = threading.Event(), threading.Event()

    def drop_entry(*_: object) -> None:
        begun.set()
        free.wait(10)

    notifier = KernelNotifier(lambda _: True, WHOLE)
    notifier.start(drop_entry, lambda _: None)
    notifier.entry(5, "a")
    assert begun.wait(10)
    with trio.move_on_after(0.05) as waited:
        async with notifier.held_back():
            raise AssertionError("one was being sent")
    assert waited.cancelled_caught
    free.set()
    async with notifier.held_back():
        pass
    notifier.stop()
    assert notifier.join(10)


def test_at_the_end_nothing_more_is_sent_and_the_one_that_hangs_is_waited_for() -> None:
    """The session is closed after it: a thread that is still in it would read freed memory."""
    begun, free = threading.Event(), threading.Event()
    told: list[int] = []

    def hang(ino: int) -> None:
        told.append(ino)
        begun.set()
        assert free.wait(10)

    notifier = KernelNotifier(lambda _: True, WHOLE)
    assert notifier.join(0.0)
    notifier.start(lambda *_: None, hang)
    notifier.inode(5)
    notifier.inode(6)
    assert begun.wait(10)
    notifier.stop()
    assert not notifier.join(0.01)
    free.set()
    assert notifier.join(10)
    assert told == [5]


def test_the_root_of_a_part_of_the_tree_has_the_kernels_number() -> None:
    told: list[object] = []
    done = threading.Event()
    notifier = KernelNotifier(lambda ino: ino == 5, cast("View", Beginning(9)))
    notifier.start(lambda *entry: told.append(entry), lambda ino: (told.append(ino), done.set()))  # type: ignore[func-returns-value]  # both for their effects
    for parent in (ROOT_INO, 9, 5):
        notifier.entry(parent, "a")
    notifier.inode(9)
    assert done.wait(10)
    notifier.stop()
    assert notifier.join(10)
    # The tree's root lies above the mount's: the kernel does not know it.
    assert told == [(ROOT_INO, "a"), (5, "a"), ROOT_INO]
