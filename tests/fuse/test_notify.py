"""Telling the kernel, without a kernel: silent before the start and after the stop; never in the caller's thread."""

from __future__ import annotations

import threading

from remotefs.fuse.notify import KernelNotifier


def waiting_thread() -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == "kernel-notifier"), None)


def test_it_is_silent_until_started_and_after_the_stop() -> None:
    asked: list[int] = []
    told: list[object] = []
    notifier = KernelNotifier(lambda ino: bool(asked.append(ino)) or ino == 5)
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


def test_at_the_end_nothing_more_is_sent_and_the_one_that_hangs_is_waited_for() -> None:
    """The session is closed after it: a thread that is still in it would read freed memory."""
    begun, free = threading.Event(), threading.Event()
    told: list[int] = []

    def hang(ino: int) -> None:
        told.append(ino)
        begun.set()
        assert free.wait(10)

    notifier = KernelNotifier(lambda _: True)
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
