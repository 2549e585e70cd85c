"""The durable state of a mount: its tree, the remote files it knows and its pending work, in one SQLite database.

Changes go in as rows. The same rows come out, in this mount and the next, with a promise that can be waited for:
everything that was committed so far survives a power cut.

    data/, vfs/                                   await Database.durable()
      │ rows in, rows out                             │
    ┌─▼────────────────────────────────────────┐ ┌────▼─────────────────────────────┐
    │ tree, xattrs   inodes, names, attributes │ │ durability   a round of syncs:   │
    │ remotes  remote files that are known     │ │              1. folders with new │
    │ journal  intents: work to be done        │ │              names  2. the log   │
    │ meta     facts about the state folder    │ │ groupsync    all who wait share  │
    ├──────────────────────────────────────────┤ │              the next round      │
    │ database   transactions, checkpoints     │ └────┬─────────────────────────────┘
    └─┬──────────────────────────┬─────────────┘      │ fsync
      │ checkpoint               │ commit             │
    state.db ◄────────────── state.db-wal ◄───────────┘
      │ copies: daily, and at a clean end
    copies/state-N.db ──► rescue ◄── pages ◄── state.db, when SQLite gives it up

Who runs at the same time: in a mount the loop thread alone changes rows. It calls SQLite directly, because a statement
takes microseconds; so code between two awaits is atomic. Threads do the work that waits for the disk: rounds of syncs,
checkpoints, copies, and reading all rows for `remotefs check`. The last three use connections of their own. The lock of
the state folder keeps other processes out.

Decisions:

* One database holds all tables, so a change of the tree and the intents that carry it to the service commit together.
  Each table has one owner; only the repairs of `audit` write to a table beside it.
* A commit does not wait for the disk; `durable()` does, and all who wait share one *group sync*. A round syncs the
  names of files before the rows that refer to them. Cut short, it leaves files without rows, never rows without files.
* Sizes and times that change with every write are *notes*: kept in memory over the row and saved every few seconds. A
  crash loses notes only, and the staged file knows its size.
* SQLite drops a damaged log without an error, and gives up a table at its first damaged page. So a mount counts lost
  frames (`database`) and keeps copies. `rescue` reads every page that is left, and takes over no row that would delete
  a file at the service.
"""
