"""The adapter between the kernel and the file system.

In: the kernel's requests, as pyfuse3 hands them over, about numbers of inodes and handles. Out: attributes, bytes or an
errno; and, in the other direction, notifications about changes that the kernel has not made itself. The work is done in
`vfs`; this package translates and decides nothing about files. pyfuse3 is imported here and in `mount` alone.

    program ── system call ──► kernel ────── request ──────► operations ──► vfs
                                ▲ ▲                                          │
                                │ └─── attributes, bytes, errno ◄─── translate
                                │
                                └─ invalidation ◄─ notify (a thread) ◄─ queue ◄─ changes made elsewhere

pyfuse3 starts a trio task for each request, up to `mount.max_tasks` at a time, all in the thread of the event loop: a
handler runs without interruption between two awaits. The notifier has the only thread of this package.

The decisions, with the measurements behind them in docs/adr/0002-kernel-facts.md:

* No exception leaves a handler. pyfuse3 answers only FUSEError; anything else ends its main loop. So every handler is
  wrapped (`operations.answering`), and one table (`translate.ERRNO_TABLE`) turns each exception into an errno and a log
  level. A test fails when an exception class has no row.
* Notifications come from a thread of their own, and nobody waits for it. The kernel holds the lock of a directory while
  it waits for a handler, and a notification about a name in that directory waits for the same lock: a handler that sent
  one would wait for itself.
* The kernel keeps the pages of a file from one open to the next. That is safe because the bytes of an inode change only
  through the kernel; a file that changed elsewhere gets another inode. So notifications are about names and attributes,
  never about pages. A file whose length is not certain is opened with direct_io, past the page cache.
* The kernel counts a lookup for each entry that it is given, and gives the count back with FORGET. `Handles` keeps the
  same count, so `looked_up` is called exactly once for each entry in a reply.
* `connection` raises two limits of the kernel that options of the mount do not reach: requests in the background, and
  readahead.
"""
