"""Writeback carries the journal's intents out at the service, for as long as it takes.

In: intents that are due (`data/intents` plans them, the journal keeps them), and the bytes of their files. Out: files
at the service, bound to their inodes; deletes; and staged files that became content.

      journal        close(2) waits    flush, umount    the connection
         │             CloseWait          Drainer      ConnectionFollower
         ▼                 │                 │                 │
      Agenda ◄─────────────┼─────────────────┴─────────────────┘ hurry
         │ due             │ goes first
         ▼                 ▼
     Selection ◄──────── Waiters ◄──────────────────────┐ an intent ended: look again
         │ as many as there are workers                 │
         ▼                                              │
     Dispatcher ──► Workers ──► Uploader: Eligibility ─► Transmission ─► Confirmation ──► Promoter
                        │  └──► RemoteDeleter: decide() ─► DELETE                  (staged file ─► content)
                        └─────► Failures: when it is tried again, and why, for people

    before all of it:  Recovery, Orphans (what a crash left)     beside it:  Closer (closes that failed)

Who runs at the same time: the dispatcher, the promoter, the closer and the follower of the connection, one task each
for as long as the mount lives (`Writeback.run`); and one task for each intent at work, at most `upload_workers` uploads
and four deletes. An intent never has two tasks, an inode never two uploads.

Decisions:

* A failure puts an intent off and keeps it. Nothing gives up: a change waits until the service takes it, or until the
  user removes the file. A definite refusal is tried again rarely (1 min, up to 1 h), a missing reply soon (1 s, up to
  1 min), and all of the latter at once when the connection is back.
* An upload takes effect exactly once. The attempt is on the disk before the first byte goes out; after a lost reply the
  listing is read back before anything is sent again (W6); and between a reply and its binding there is no await.
* One place sends DELETE, right after one pure decision on the facts of that moment (S3, S5).
* Promotion is not part of an upload. A staged file is read as well where it is, so the files of a second become content
  together and share their syncs.
"""
