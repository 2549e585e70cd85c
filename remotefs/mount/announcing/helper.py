"""The helper process: makes one system call in the mount for each packet on its standard input, a socket.

It runs as `python -I -S`, gets this source as its first packet, imports `os` alone, and ends with the socket. A packet
has fields that are divided by zero bytes: the kind of call, the device number of the mount, the mountpoint, arguments.
The reply is a number: 0, an errno, or for `probe` the device number.

A call must not get into what lies under or over the mountpoint, or behind a symbolic link. So each folder on the way is
opened without following links, and the last has to be on the mount's device. Nothing stays open between two calls: it
would make `umount` fail.
"""

from __future__ import annotations

import os

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPE = 0o170000
_DIRECTORY, _LINK, _FILE = 0o040000, 0o120000, 0o100000
_EXDEV = 18
_PACKET_BYTES = 1 << 16


def open_folder(mountpoint: bytes, path: bytes, device: int) -> int:
    """Open a folder of the mount and return its descriptor. Raises OSError, with EXDEV where it is not of the mount."""
    folder = os.open(mountpoint, _FOLDER & ~os.O_NOFOLLOW)
    try:
        check_device(folder, device)
        for name in filter(None, path.split(b"/")):
            above, folder = folder, os.open(name, _FOLDER, dir_fd=folder)
            os.close(above)
        check_device(folder, device)
    except BaseException:
        os.close(folder)
        raise
    return folder


def check_device(descriptor: int, device: int) -> None:
    """Raise OSError (EXDEV) where a descriptor is not on the mount's device."""
    if os.fstat(descriptor).st_dev != device:
        raise OSError(_EXDEV, "not the mount")


def make(folder: int, name: bytes, mode: int, device: int) -> None:
    """Make what has come: IN_CREATE. Where somebody has opened it already: IN_ATTRIB."""
    file_type = mode & _TYPE
    try:
        if file_type == _DIRECTORY:
            os.mkdir(name, mode & 0o7777, dir_fd=folder)
        elif file_type == _LINK:
            os.symlink(b"-", name, dir_fd=folder)
        else:
            os.mknod(name, mode, dir_fd=folder)
    except FileExistsError:
        touch(folder, name, mode, device)
    # A program cannot be started while it is open for writing.
    if file_type == _FILE and not mode & 0o111:
        close_written(folder, name, device)


def touch(folder: int, name: bytes, mode: int, device: int) -> None:
    """Give an inode the mode that it has: IN_ATTRIB."""
    if mode & _TYPE == _LINK:
        return
    inode = open_inode(folder, name, device)
    try:
        os.chmod(f"/proc/self/fd/{inode}", mode & 0o7777)  # noqa: PTH101 - pathlib is not loaded
    finally:
        os.close(inode)


def close_written(folder: int, name: bytes, device: int) -> None:
    """Open a file for writing and close it: IN_CLOSE_WRITE. Where the mode forbids it there is no such event."""
    inode = open_inode(folder, name, device)
    try:
        os.close(os.open(f"/proc/self/fd/{inode}", os.O_WRONLY | os.O_CLOEXEC))
    except PermissionError:
        pass
    finally:
        os.close(inode)


def open_inode(folder: int, name: bytes, device: int) -> int:
    """Return a descriptor of what has a name, by which nothing can be read. Raises OSError."""
    inode = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        check_device(inode, device)
    except BaseException:
        os.close(inode)
        raise
    return inode


def remove(folder: int, name: bytes, mode: int) -> None:
    """Remove what went: IN_DELETE."""
    if mode & _TYPE == _DIRECTORY:
        os.rmdir(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def move(mountpoint: bytes, device: int, folder: int, name: bytes, new_path: bytes, new_name: bytes) -> None:
    """Move what has another name: IN_MOVED_FROM and IN_MOVED_TO."""
    new_folder = open_folder(mountpoint, new_path, device)
    try:
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)
    finally:
        os.close(new_folder)


def probe(mountpoint: bytes, name: bytes) -> int:
    """Ask for a name in what lies at the mountpoint; return its device number."""
    folder = os.open(mountpoint, _FOLDER & ~os.O_NOFOLLOW)
    try:
        os.stat(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    finally:
        device = os.fstat(folder).st_dev
        os.close(folder)
    return device


def carry_out(packet: bytes) -> int:
    """Make the call of a packet; return the reply. Raises OSError."""
    kind, device, mountpoint, path, name, mode, new_path, new_name = packet.split(b"\0")
    if kind == b"probe":
        return probe(mountpoint, name)
    number = int(device)
    folder = open_folder(mountpoint, path, number)
    try:
        if kind == b"create":
            make(folder, name, int(mode), number)
        elif kind == b"delete":
            remove(folder, name, int(mode))
        elif kind == b"move":
            move(mountpoint, number, folder, name, new_path, new_name)
    finally:
        os.close(folder)
    return 0


def serve(socket: int) -> None:
    """Carry out one packet after the other until the other side closes the socket."""
    while packet := os.read(socket, _PACKET_BYTES):
        try:
            reply = carry_out(packet)
        except OSError as error:
            reply = error.errno or _EXDEV
        os.write(socket, str(reply).encode())


if __name__ == "__main__":
    # A mount that was killed reads no reply any more.
    try:
        serve(0)
    except OSError:
        os._exit(1)
