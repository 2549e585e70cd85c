"""The bytes of a file, by inode: where they are now, how they are read, and how they come to be written.

In: verbs of `vfs` on inodes (read, write, truncate, close); from `writeback`, which bytes go up and which have arrived.
Out: bytes; staged files; changed rows, with the intents that `intents` plans for them.

    write, truncate ──► FileWriter ──► CopyOnWrite ──► staging/INODE-GENERATION ──┐ Promotion: the file moves
                            │ close        ▲ clone                                │ once the service has it
                            ▼              │                                      ▼
                      UPLOAD intent     content/ID  ◄─────────────────────────────┘
                                           ▲ fill          Locator: which of the three has the bytes now
    read ──► FileReader ──► Downloader ──► the service     Sweeper: removes the bytes that were given up

`intents/lifecycle.py` has the states of a file's bytes (CLEAN, DIRTY, CLOSED) and all moves between them, as a pure
state machine with its drawing and its invariants. This package makes the moves: it changes the bytes on the disk and
the row of the inode, in an order that a crash or a full disk can interrupt anywhere.

Who runs at the same time: a task for each request of the kernel, the tasks of `writeback`, and commands, all in one
thread. Whatever changes the bytes of an inode holds its lock (`locks`). Nothing that waits for an upload holds one, so
a write is never held up by the upload of the version that it overwrites. An unlink takes no lock (A1): code that awaits
under the lock reads the row again afterwards. Threads copy, hash and sync.

Decisions:

* Writes go to a file of their own and never into content. So content that has an id never changes, and its readers see
  one version.
* A write changes a closed version in place and cuts its upload. A file that keeps changing would never arrive that way,
  so one version of it is *frozen* and sent whatever is written (`freezer`, `outgoing`, W4).
* Promotion moves the staged file and copies nothing. If the row cannot be written then, as on a full disk, the file
  has moved already: `UnrecordedPromotions` remembers that, and readers and writers ask `Locator`, not the row alone.
* Bytes are removed late: the row that gives them up has to survive a power cut first (`sweeper`).
* A reply can prove that the length in the row is wrong (`lengths`, R6). The kernel has pages of the old length, so the
  file gets another inode (`resizing`).
"""
