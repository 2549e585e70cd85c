"""The tables, as migrations that lead from an empty file to the newest form. A released migration is never edited.

inode ──< dentry     a directory entry; `cookie` orders a directory and survives renames
  │  └──< xattr      an attribute of the namespace user.*
  │  └──< remote     a remote file that is known: bound to an inode, shown nowhere, or a tombstone
  │  └─── renamed    a folder that was renamed, and the files beneath it have not followed yet
  │  └─── followed   a file that has followed by itself
remote ─── share     an upload whose bytes go, or went, into the shared store
shared_…             attributes that machines share: what changed here, the map of all machines, what of it is here;
                     files that are gone, whose objects go too
  └────── intent     pending remote work: at most one UPLOAD or REUPLOAD an inode, one DELETE a remote file
meta                 account, shape, times of polls; the version of remotefs that made the format

`PRAGMA user_version` counts the migrations that a database has had: its format. An older remotefs refuses a database
that has had more than it knows. The format stands for the whole state folder: a change of its other files that an
older remotefs would not understand takes a migration as well, if an empty one.
"""

from __future__ import annotations

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

-- AUTOINCREMENT: an inode number is never used again, so that no generation number has to tell two uses apart.
CREATE TABLE inode (
    ino INTEGER PRIMARY KEY AUTOINCREMENT,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    nlink INTEGER NOT NULL,
    rdev INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    atime_ns INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    target BLOB,                            -- of a symbolic link
    parent INTEGER,                         -- of a directory
    implied INTEGER NOT NULL DEFAULT 0,     -- a directory that only remote names made
    state INTEGER NOT NULL DEFAULT 0,       -- records.ContentState
    content_gen INTEGER NOT NULL DEFAULT 0, -- rises with every version of the bytes
    staged_gen INTEGER,                     -- the generation in the staged file's name, where there is one
    file_id TEXT,                           -- the remote file that the service last confirmed for this inode
    spelled_id TEXT,                        -- the id in a twin's spelling, `stem [id].ext`
    replaced_by INTEGER,                    -- the inode that took this one's name
    closed_ns INTEGER NOT NULL DEFAULT 0    -- of the last close that changed content
);
CREATE INDEX inode_file ON inode (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX inode_unlinked ON inode (ino) WHERE nlink = 0;
CREATE INDEX inode_staged ON inode (ino) WHERE staged_gen IS NOT NULL;
CREATE INDEX inode_spelled ON inode (ino) WHERE spelled_id IS NOT NULL;

CREATE TABLE dentry (
    cookie INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    name TEXT NOT NULL,
    ino INTEGER NOT NULL,
    UNIQUE (parent, name)
);
CREATE INDEX dentry_ino ON dentry (ino);
CREATE INDEX dentry_order ON dentry (parent, cookie);

CREATE TABLE xattr (
    ino INTEGER NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (ino, name)
) WITHOUT ROWID;

CREATE TABLE remote (
    file_id TEXT PRIMARY KEY,
    filename TEXT NOT NULL,
    size INTEGER NOT NULL,
    mime_type TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER,
    downloadable INTEGER NOT NULL,
    origin INTEGER NOT NULL,                -- records.Origin
    ino INTEGER,                            -- NULL: shown nowhere
    doomed INTEGER NOT NULL DEFAULT 0,      -- unlinked or replaced here: masked, and may be deleted
    missed INTEGER NOT NULL DEFAULT 0,      -- complete listings in a row without it
    digest TEXT,                            -- of bytes that went up from here
    known_ns INTEGER NOT NULL DEFAULT 0,    -- our clock, when it became known
    asked TEXT                              -- the filename we asked for, where the service gave another (N2)
) WITHOUT ROWID;
CREATE INDEX remote_ino ON remote (ino);
CREATE INDEX remote_unshown ON remote (file_id) WHERE ino IS NULL AND doomed = 0;
CREATE INDEX remote_doomed ON remote (file_id) WHERE doomed = 1;
CREATE INDEX remote_filename ON remote (filename);
CREATE INDEX remote_created ON remote (created_ns);
CREATE INDEX remote_missed ON remote (missed) WHERE missed > 0;
CREATE INDEX remote_expires ON remote (expires_ns) WHERE expires_ns IS NOT NULL;

CREATE TABLE intent (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,                     -- records.IntentKind
    ino INTEGER,                            -- UPLOAD, RELABEL: whose; DELETE: whose write handles hold it back
    file_id TEXT,                           -- DELETE: what
    replaces TEXT NOT NULL DEFAULT '[]',    -- ids that may go once it is confirmed
    due_ns INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    reason TEXT,                            -- why it waits, for people
    attempt_name TEXT,
    attempt_size INTEGER,
    attempt_ns INTEGER,
    attempt_newest_ns INTEGER,              -- the newest created_at known when the attempt began: the server's clock
    attempt_gen INTEGER                     -- which content it sent
);
CREATE UNIQUE INDEX intent_inode ON intent (ino) WHERE kind != 'delete';
CREATE UNIQUE INDEX intent_file ON intent (file_id) WHERE kind = 'delete';
CREATE INDEX intent_due ON intent (due_ns);
CREATE INDEX intent_attempt ON intent (attempt_name) WHERE attempt_name IS NOT NULL;
"""

_FORMER_PATH = """
-- DELETE: the path that the file had, for what comes to have that path next is its successor.
ALTER TABLE intent ADD COLUMN path TEXT;
CREATE INDEX intent_path ON intent (path) WHERE path IS NOT NULL;
"""

_ODD_ANSWERS = """
-- The epoch of the service's clock in which the expiry was listed before it came (S1).
ALTER TABLE remote ADD COLUMN foreseen INTEGER;
-- The size that listings say, where replies have shown that the content has another (R6); NULL: they say the same.
ALTER TABLE remote ADD COLUMN listed_size INTEGER;
"""

_FIELD_TERMS = """
-- Columns and kinds get the names that the code uses now.
ALTER TABLE inode RENAME COLUMN spelled_id TO conflict_id;   -- the id in a conflict copy's name, `stem [id].ext`
DROP INDEX inode_spelled;
CREATE INDEX inode_conflict ON inode (ino) WHERE conflict_id IS NOT NULL;
ALTER TABLE remote RENAME COLUMN doomed TO tombstoned;       -- unlinked or replaced here: masked, and may be deleted
DROP INDEX remote_doomed;
CREATE INDEX remote_tombstoned ON remote (file_id) WHERE tombstoned = 1;
UPDATE intent SET kind = 'reupload' WHERE kind = 'relabel';  -- records.IntentKind
UPDATE meta SET value = CAST(replace(CAST(value AS TEXT), '"lanes":', '"concurrency":') AS BLOB) WHERE key = 'facts';
"""

_LONG_LISTS = """
-- What the loop asks again and again is answered from an index, however much is pending (H8).
CREATE INDEX intent_next ON intent (kind, due_ns);
CREATE INDEX intent_failed ON intent (seq) WHERE reason IS NOT NULL;
CREATE INDEX intent_replaces ON intent (seq) WHERE replaces != '[]';
CREATE INDEX inode_dirty ON inode (ino) WHERE state = 1;

-- The HTTP status with which the service refused these very bytes; another mount is not to send them at once.
ALTER TABLE intent ADD COLUMN refused INTEGER;

-- The names below a folder changed, and its files have not followed yet.
CREATE TABLE renamed (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- a later rename has a higher one
    ino INTEGER NOT NULL UNIQUE,
    reupload INTEGER                           -- whether they may be uploaded again (W7); NULL: not counted yet
);
-- A file that has followed every rename up to this number by itself.
CREATE TABLE followed (ino INTEGER PRIMARY KEY, number INTEGER NOT NULL);
"""

_SHARED = """
-- Uploads whose bytes are to be in the shared store, too (X1); made in the transaction that binds an upload.
CREATE TABLE share (
    file_id TEXT PRIMARY KEY,
    state INTEGER NOT NULL DEFAULT 0,          -- records.ShareState
    tries INTEGER NOT NULL DEFAULT 0,
    due_ns INTEGER NOT NULL DEFAULT 0,
    reason TEXT                                -- why it waits, for people
) WITHOUT ROWID;
CREATE INDEX share_due ON share (due_ns) WHERE state = 0;

-- The map of attributes that the machines of an account share (X3, X4): for each key the record with the latest stamp.
CREATE TABLE shared_record (
    key TEXT PRIMARY KEY,
    hlc INTEGER NOT NULL,
    writer TEXT NOT NULL,
    record BLOB NOT NULL,                      -- msgpack, see data/share/records
    applied INTEGER NOT NULL DEFAULT 0         -- the tree shows it, or a change here is newer
) WITHOUT ROWID;
CREATE INDEX shared_unapplied ON shared_record (key) WHERE applied = 0;
CREATE INDEX shared_of_writer ON shared_record (writer);
-- The keys that this tree had when it was last compared with the map, and the inode of each.
CREATE TABLE shared_held (key TEXT PRIMARY KEY, ino INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX shared_held_ino ON shared_held (ino);
-- The inodes that a user has changed here since; `generation` rises with each change.
CREATE TABLE shared_dirty (ino INTEGER PRIMARY KEY, generation INTEGER NOT NULL DEFAULT 0);
-- How far the log of each other machine was read.
CREATE TABLE shared_writer (writer TEXT PRIMARY KEY, next_sequence INTEGER NOT NULL) WITHOUT ROWID;
"""

_ORPHANS = """
-- Files that the service does not have any more, as far as this machine knows, whose objects may still be there (X6).
CREATE TABLE shared_orphan (
    file_id TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL DEFAULT 0,          -- of its object
    noted_ns INTEGER,                          -- the counted time at which its object was first found; NULL: not yet
    found INTEGER NOT NULL DEFAULT 0,          -- the number of the run that found its object last
    witnessed INTEGER NOT NULL DEFAULT 0       -- this machine knew the file, and learned that it was gone
) WITHOUT ROWID;
CREATE INDEX shared_orphan_noted ON shared_orphan (noted_ns) WHERE noted_ns IS NOT NULL;
CREATE INDEX shared_orphan_found ON shared_orphan (found);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _FORMER_PATH, _ODD_ANSWERS, _FIELD_TERMS, _LONG_LISTS, _SHARED, _ORPHANS)
