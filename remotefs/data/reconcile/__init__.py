"""Brings the listings of the service into the tree, and takes vanished files out of it.

In: pages of the listing, and single answers about files. Out: rows of the tree and of known files, messages to the
kernel about names that changed, files in the trash. Nothing here sends a DELETE, and no kernel request waits for it.

    poll_schedule ──► refresh ──┬──► listing          poll: newest pages; walk: all pages
      (how long                 │       ├──► merge ──► placement     new files get a path
       to wait)                 │       │       ├────► renewal       known files get new fields
                                │       │       └────► undeleted     files are listed long after their DELETE
                                │       └──► removal ──► tree_removal ──► trash
                                │              ▲ 404
                                └──► existence_check ◄── viewed_folders, reported_missing

    data/share ──► applier ──► placement      what other machines say of files, folders and links (X3)

One task runs the loop (`Refresh.run`). The first listing of a mount and `remotefs accept-removals` call `Listings`
from their own tasks; a lock lets one listing run at a time. Whatever looks at many rows does so in batches of some
milliseconds, each in one transaction; other tasks run between two batches, so what follows is decided again for each
file.

The decisions:

* A file is removed after two complete listings without it, or after a 404 on its id (S4). A listing is complete when
  its last page was read, and counts only for ids that were known for a while before it began: a new upload may be
  missing from a listing for a moment. A page that fails removes nothing.
* A guard stands before removals (S1). An empty listing, or one that lacks more than `removal_guard_files` and more than
  `removal_guard_fraction` of the known files, is more likely wrong than true. It counts as nothing, and removals wait
  until a person runs `remotefs accept-removals`. Expiries that no listing announced are under the same guard.
* Bytes that only this machine has go to the trash before their file leaves the tree (S2); a file that was edited here
  stays (W8).
* Walks are the ground truth, but expensive: one request for each 1,000 files. So a poll comes every few seconds while
  the mount is in use, every few minutes when it is idle, and walks come far less often. Together they take only a share
  of the request limit (A4). While the service is out of reach nothing is listed; `api/reconnect` asks, and its
  first answer starts a round.
* A deletion elsewhere shows in a poll only if the poll was complete. For folders that people look at, the files are
  therefore asked for by id, 100 in one request; a reader that gets a 404 reports the id, and it is asked for at once.
* Two remote files may have one name. The newer has the plain name, the older becomes a conflict copy with its id in the
  name (N3). Whatever belongs to this machine keeps its path.
"""
