"""Handles and lookup counts: who may still ask for what."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs.errors import InvalidArgument
from remotefs.vfs.handles import Handles


@pytest.mark.parametrize(
    ("flags", "writable"),
    [(os.O_RDONLY, False), (os.O_WRONLY, True), (os.O_RDWR, True), (os.O_RDWR | os.O_APPEND, True), (os.O_SYNC, False)],
)
def test_who_can_write(flags: int, writable: bool) -> None:
    handles = Handles()
    handle = handles.open_file(7, flags)
    assert (handle.writable, handles.is_open(7), handles.is_open_for_write(7)) == (writable, True, writable)
    assert handles.close_file(handle.fh) is handle
    assert not handles.is_open(7)
    assert not handles.is_open_for_write(7)


def test_numbers_are_never_used_again() -> None:
    handles = Handles()
    first = handles.open_file(7, os.O_RDONLY).fh
    handles.close_file(first)
    assert handles.open_file(7, os.O_RDONLY).fh != first
    assert handles.open_directory(1) != first


def test_a_closed_handle_is_none() -> None:
    handles = Handles()
    with pytest.raises(InvalidArgument):
        handles.file(1)
    with pytest.raises(InvalidArgument):
        handles.directory(1)
    with pytest.raises(InvalidArgument):
        handles.close_file(1)


def test_a_directory_is_open_until_its_last_reader_left() -> None:
    handles = Handles()
    one, two = handles.open_directory(1), handles.open_directory(1)
    assert handles.directory(one) == 1
    handles.close_directory(one)
    assert handles.is_directory_open(1)
    handles.close_directory(two)
    assert not handles.is_directory_open(1)
    assert handles.statistics().directories == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 3), max_size=20), st.data())
def test_an_inode_is_known_until_every_lookup_was_given_back(looked_up: list[int], data: st.DataObject) -> None:
    handles = Handles()
    for ino in looked_up:
        handles.looked_up(ino)
    for ino in set(looked_up):
        left = looked_up.count(ino)
        while left:
            count = data.draw(st.integers(1, left))
            assert handles.is_known(ino)
            left -= count
            assert handles.forget(ino, count) is (left == 0)
        assert not handles.is_known(ino)
    assert handles.statistics().known_inodes == 0
