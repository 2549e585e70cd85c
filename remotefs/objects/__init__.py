"""The store that the machines of an account share: a bucket, or a network folder, of whole objects under keys.

In: a key and bytes. Out: the bytes, or one exception of `remotefs.errors`. This package knows nothing of files, ids or
the tree; it asks of a store only what all of them have: a put is atomic, and a key can be made if it is absent.

    data/ (tasks of trio)
      │ await
    store      one prefix: each call a hop to a thread, with a limiter of its own ──► marker   is it the right store?
      │                                                                           └─► link     limits of bandwidth
      │ synchronous calls, in threads
    backend    what a kind of store answers
      ├── folder    file://   the standard library; synced     ┐
      └── bucket    s3:// gs:// az://   obstore (Rust)         ┴─► failures   which exception

The decisions:

* An object is put whole or not at all, and is known to be there only after its size was asked back. A put overwrites,
  because an id never stands for other bytes; what must not be overwritten is made by `create`, of which one wins.
* Absence proves nothing. A missing bucket and a network folder that is not mounted look like a missing object, and some
  servers make a bucket at the first put. So nothing is concluded until the store has shown its marker (X5). A folder is
  never made, and one that is another than at the start is refused.
* A folder is written by us: `LocalStore` of obstore syncs nothing. A put has synced its bytes, its name and the folders
  that it made when it returns.
* A hung store is found by silence, not by the length of a body: 10 s between two reads, two retries within 10 s,
  and an hour for the whole. Whoever needs longer tries again.
* Threads cannot be cancelled. Readers leave a hung one behind, and the limiter keeps those from taking the threads of
  the rest of the mount; writers wait for theirs, which ends at the next piece of its source.
* The limits of bandwidth are those of the mount. A piece waits for its turn before it comes or goes: of a put in its
  thread, where its source is read.
* obstore is loaded only for a bucket. No text of it gets out: it may quote a signed address. `failures` keeps the
  status, the code and the kind of the failure.
"""
