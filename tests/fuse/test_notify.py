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
    notifier.start(lambda *entry: told.append(entry), told.append)
    thread = waiting_thread()
    assert thread is not None
    notifier.entry(5, "a")
    notifier.inode(6)
    notifier.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert told == [(5, "a")]
    assert asked == [5, 6]
    notifier.inode(7)
    assert asked == [5, 6]
