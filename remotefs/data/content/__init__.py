"""The bytes of files on this disk, by the id that the service gave them.

In: chunks that a download brings (`put`), and staged files whose upload is confirmed (`adopt`). Out: bytes that match
their sums, or None, which sends the reader to the service. An id's content never changes, so nothing here goes stale.

    download ──► put ───┐                    ┌──► read, duplicate ──► readers
                        ▼                    │
                  ┌───────────┐      ┌───────────────┐
                  │  store    │ ───► │  folder       │   index: an entry an id; open_files: descriptors
                  └───────────┘      │  <id>         │   file: sparse bytes
                        │            │  <id>.cached  │   chunks: their sums; content may be partial
    promotion ──► adoption ────────► │  <id>.pinned  │   chunks: their sums; content is complete
                                     └───────────────┘
    disk is short ──► eviction ────────────► ▲

`labels` say whose bytes a file holds, without the database. `trash` keeps bytes that only this machine has, of files
that vanished elsewhere. `copying` shares or copies the blocks of a file.

All of it runs in the thread of the event loop and holds no lock: between two awaits nothing else happens. Threads only
hash, verify and copy whole files, and write sums. While one does, the id may be removed, so the code looks again after
the await; while sums are written for an adoption, `put` refuses the id.

The decisions:

* Every chunk has a checksum, which is checked at each read (R3). So cached content needs no sync: a chunk that a power
  cut spoiled does not match, counts as missing, and is fetched again. Damage in pinned content is an error, because the
  service may not give these bytes back.
* Content is cached or pinned, and the name of its sums says which. Pinned content has no limit but the disk. Cached
  content goes, the least recently used first, when it exceeds its limit or the disk has only its reserve left (A8).
  Content of open files stays (R4).
* An adoption syncs in an order that no power cut breaks: the sums first, then their name, then the rename that gives
  the bytes theirs. Sums without bytes can be told and repaired; bytes without sums could not be trusted.
* The files are the only record of what is here; no table lists them. So a damaged database loses none of them: a label
  says whose pinned bytes are, and bytes without sums are kept and shown.
"""
