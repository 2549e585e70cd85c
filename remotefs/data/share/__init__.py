"""The shared store: what one machine uploaded, every machine of the account reads (X1-X6).

The service gives nothing back that a user uploaded. With `[shared] store` the bytes of each upload also go into an
object store, as one object under the file's id:

    upload ─► bind + row in `share` ─► Sharer (data/writeback) ─► object
    a read that misses ─► SharedSource ─► object ─► service

    header        the form of an object: checksums, then the bytes
    connection    is the store the right one, and within reach
    contents      which files have their bytes in the store
    source        objects as a source of content for readers

The attributes that the service does not keep travel in logs, one for each machine, which all others read:

    a change ─► a mark ─► Publisher ─► segment of this machine's log ─► LogReader ─► map ─► Applier ─► tree

    stamps            the order of changes, by the service's clock
    records           attributes of a file, or what else has a path
    segments          the bytes of a log
    tree_records      the records that this tree asks for
    shared_records    the map: of each key the record that holds
    publisher         what changed here goes out
    log_objects       the objects of logs: put, read, listed, removed
    log_reader        what others wrote comes into the map; log_choice tells by segments or by a snapshot
    compaction        a snapshot takes the place of old segments; snapshots tells when; dead_records drops what died
    exchange          the task that does these in turn, and lets the tree follow the map (data/reconcile/applier)

The content of an id never changes, and an object says by its checksums whether it is whole. So nobody has to agree with
anybody: two machines that put the same id put the same bytes. Absence says nothing before the store has shown its
marker, because a wrong bucket and a folder that is not mounted look like an empty store (X5).

Nor has anybody to agree on attributes: of two records of one key the later holds, and "later" is the same on every
machine. So all machines that have read all logs have the same map, in whatever order they read them, and with the same
listing the same tree (X4).
"""
