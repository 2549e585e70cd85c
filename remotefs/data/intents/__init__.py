"""What a change of the tree means for the service: intents, planned in the transaction of the change.

In: a close, a write, a rename, a link, an unlink, a last close; and the confirmation of an upload. Out: rows of the
journal (`store/journal.py`), the *intents*, which `data/writeback` carries out. A file has at most one UPLOAD (new
content) or REUPLOAD (the same content with another name, type or expiry), an id at most one DELETE.

                 close, write, rename, link                unlink, replace, last close
                              │                                         │
                              ▼                                         ▼
    Binder ───────────► IntentPlanner ◄───────────────────────────── Unlinker
    (an upload is         │        │ ids that a cancelled              │   │
     confirmed)           │        ▼ upload was to replace             │   │
       └──────────────────┼──► FreedIds ◄──────────────────────────────┘   │
                          │        │                                       │
                          ▼        ▼                                       ▼
                       UPLOAD    DELETE, or behind the upload           Garbage
                       REUPLOAD  that replaces the id                   (bytes to remove here)

    asked by all: InodePaths (which path counts), DueTimes (when), ReuploadRule (whether a rename is worth an upload),
                  UploadOptions (which type and expiry a user chose, and whether the service has them)
    beside them:  UploadsInFlight (requests that may be cut), Churn (files that keep changing), lifecycle (states)

Who runs at the same time: nothing here waits. Each method runs in the caller's transaction, or in one of its own, and
between two awaits; so a change and its intents commit together, or not at all.

Decisions:

* The tree is changed first, the service follows. An intent holds no bytes and no name: both are looked up when it is
  carried out, so that ten writes or renames in a row are one upload (W2, W7).
* An id is deleted last. While its replacement is pending, the id is only noted with that upload (`replaces`). Every
  order of rename, unlink and write that editors use to save a file ends in "upload, then delete" (W5).
* Bytes are removed later than their rows. A power cut could bring a row back, so `Garbage` only collects until the
  rows are on the disk.
* The states of a file's bytes, and the events between them, are one pure state machine (`lifecycle.py`); the property
  tests prove its invariants.

`Intents` is these parts together. A caller takes from it the parts that it uses.
"""
