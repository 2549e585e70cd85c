"""Telling the kernel, without a kernel: silent before the start and after the stop; never in the caller's thread."""

from __future__ import annotations

import logging
import threading

import pyfuse3
import pytest

from remotefs.fuse.notify import KernelNotifier


def waiting_thread() -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == "kernel-notifier"), None)


def test_silent_until_started_and_after_the_stop() -> None:
    asked: list[int] = []
    notifier = KernelNotifier(lambda ino: bool(asked.append(ino)))
    notifier.entry(5, "a")
    notifier.inode(5)
    notifier.stop()
    assert asked == []
    assert waiting_thread() is None
    notifier.start()
    thread = waiting_thread()
    assert thread is not None
    notifier.entry(5, "a")
    notifier.inode(6)
    notifier.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert asked == [5, 6]
    notifier.inode(7)
    assert asked == [5, 6]


def test_what_the_kernel_does_not_know_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Without a mount pyfuse3 answers with an error: the thread lives on, and nobody hears of it."""
    caplog.set_level(logging.INFO)
    notifier = KernelNotifier(lambda _: True)
    notifier.start()
    thread = waiting_thread()
    assert thread is not None
    notifier.stop()
    thread.join(10)
    assert caplog.records == []


def test_the_root_is_always_known() -> None:
    asked: list[int] = []
    notifier = KernelNotifier(lambda ino: bool(asked.append(ino)))
    assert notifier._is_known_or_root(pyfuse3.ROOT_INODE)
    assert not notifier._is_known_or_root(2)
    assert asked == [2]
