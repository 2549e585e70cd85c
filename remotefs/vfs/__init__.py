"""POSIX verbs on inodes, handles and bytes; without FUSE and without HTTP.

In: the requests of the kernel, translated by `fuse`; tests call the same verbs without a mount. Out: inodes, entries,
handles and bytes, or an exception of `remotefs.errors`, which `fuse` turns into an errno.

    fuse/operations
      │
      ├─► namespace    lookup, readdir, mknod, mkdir, link, unlink, rename, forget; byid: .remotefs/by-id/ID
      ├─► attributes   getattr, setattr, statfs
      ├─► xattrs       user.* as users set them, user.remotefs.* as the mount answers them
      │     └─► upload_attributes   those that an upload carries, and that users may set
      └─► files        open, create, write, truncate
            ├─► reading    may it be read, how long is it, the bytes, the access time
            └─► closing    flush, fsync: how safe a close is;  release: what follows the last handle
                 │
      handles: open files, open directories, lookup counts; all of them ask it

Who runs at the same time: a task for each request, all in one thread, so a verb without an await is atomic. Verbs on
names and attributes are such verbs: they change rows, schedule intents in the same transaction, and never wait for the
network (A1). The verbs of `files` may wait, each with a deadline; before and after a wait an inode may have changed or
be gone.

Decisions:

* The kernel sends FLUSH for each close(2) of a descriptor and RELEASE once for a handle. A program sees only the error
  of FLUSH, so FLUSH makes the bytes as safe as `durability` says (W2). RELEASE comes later and reports to nobody: what
  fails in it is left to `data/writeback/closer.py`.
* Which FLUSH counts as a close, when descriptors are shared by dup(2) or fork(2), is decided by two fields of the
  handle, `wrote` and `counted` (W4). truncate(2) without a handle counts as a close, too.
* An unlinked inode lives on while a handle or a lookup count holds it (`handles`). The last unlink, the last release
  and the last FORGET can each be the one that frees it, so each of them checks.
* The lists of names that stay on this machine, or that look temporary (N6), are compiled once (`policy`).
"""
