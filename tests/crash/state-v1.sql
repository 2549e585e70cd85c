-- A state folder of format 1, as that version wrote it: a file that is confirmed and not settled (6), one that waits for
-- its upload (7), one that was being written (8), and one that waits for its DELETE; 2 is somebody else's.
BEGIN TRANSACTION;
CREATE TABLE dentry (
    cookie INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    name TEXT NOT NULL,
    ino INTEGER NOT NULL,
    UNIQUE (parent, name)
);
INSERT INTO "dentry" VALUES(1,1,'theirs.txt',2);
INSERT INTO "dentry" VALUES(3,1,'folder',4);
INSERT INTO "dentry" VALUES(4,4,'empty',5);
INSERT INTO "dentry" VALUES(5,4,'bound',6);
INSERT INTO "dentry" VALUES(6,1,'also',6);
INSERT INTO "dentry" VALUES(7,1,'pending',7);
INSERT INTO "dentry" VALUES(8,1,'dirty',8);
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
INSERT INTO "inode" VALUES(1,16877,0,0,3,0,0,1795410245962807409,1795410247096684817,1795410247096684817,NULL,1,0,0,0,NULL,NULL,NULL,NULL,0);
INSERT INTO "inode" VALUES(2,33188,0,0,1,0,6,1795410245843414000,1795410245843414000,1795410245843414000,NULL,NULL,0,0,0,NULL,'file_theirs',NULL,NULL,0);
INSERT INTO "inode" VALUES(4,16877,1000,1000,3,0,0,1795410246678759225,1795410246679653562,1795410246679653562,NULL,1,0,0,0,NULL,NULL,NULL,NULL,0);
INSERT INTO "inode" VALUES(5,16877,1000,1000,2,0,0,1795410246679091214,1795410246679091214,1795410246679091214,NULL,4,0,0,0,NULL,NULL,NULL,NULL,0);
INSERT INTO "inode" VALUES(6,33188,1000,1000,2,0,5,1795410246679653562,1795410246680793438,1795410246736379368,NULL,NULL,0,0,1,1,'file_bound',NULL,NULL,1795410246680928339);
INSERT INTO "inode" VALUES(7,33188,1000,1000,1,0,13,1795410247086243329,1795410247087501855,1795410247087501855,NULL,NULL,0,2,1,1,NULL,NULL,NULL,1795410247087633070);
INSERT INTO "inode" VALUES(8,33188,1000,1000,1,0,12,1795410247096684817,1795410247097867522,1795410247097867522,NULL,NULL,0,1,1,1,NULL,NULL,NULL,1795410247096684817);
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
INSERT INTO "intent" VALUES(3,'delete',NULL,'file_unwanted','[]',1795410247085216605,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intent" VALUES(4,'upload',7,NULL,'[]',1795410247087633070,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "intent" VALUES(5,'upload',8,NULL,'[]',4611686018427387904,0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "meta" VALUES('facts',CAST('{"organization":"@ORGANIZATION@","listed_ns":1795410246544114128,"walked_ns":1795410246544114128}' AS BLOB));
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
INSERT INTO "remote" VALUES('file_unwanted','unwanted',3,'application/octet-stream',1795410246948595000,NULL,0,1,NULL,1,0,'1bcbfc1be90c1b300f3ca07a8cc8bf40',1795410246968173832,NULL);
INSERT INTO "remote" VALUES('file_theirs','theirs.txt',6,'text/plain',1795410245843414000,NULL,1,0,2,0,0,NULL,1795410246542716925,NULL);
INSERT INTO "remote" VALUES('file_bound','folder／bound',5,'application/octet-stream',1795410246965649000,NULL,0,1,6,0,0,'95b7ac2d7750d79e44a07b84214d6fb6',1795410247026978950,NULL);
CREATE TABLE xattr (
    ino INTEGER NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (ino, name)
) WITHOUT ROWID;
INSERT INTO "xattr" VALUES(6,X'757365722E6E6F7465',X'6B657074');
CREATE INDEX inode_file ON inode (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX inode_unlinked ON inode (ino) WHERE nlink = 0;
CREATE INDEX inode_staged ON inode (ino) WHERE staged_gen IS NOT NULL;
CREATE INDEX inode_spelled ON inode (ino) WHERE spelled_id IS NOT NULL;
CREATE INDEX dentry_ino ON dentry (ino);
CREATE INDEX dentry_order ON dentry (parent, cookie);
CREATE INDEX remote_ino ON remote (ino);
CREATE INDEX remote_unshown ON remote (file_id) WHERE ino IS NULL AND doomed = 0;
CREATE INDEX remote_doomed ON remote (file_id) WHERE doomed = 1;
CREATE INDEX remote_filename ON remote (filename);
CREATE INDEX remote_created ON remote (created_ns);
CREATE INDEX remote_missed ON remote (missed) WHERE missed > 0;
CREATE INDEX remote_expires ON remote (expires_ns) WHERE expires_ns IS NOT NULL;
CREATE UNIQUE INDEX intent_inode ON intent (ino) WHERE kind != 'delete';
CREATE UNIQUE INDEX intent_file ON intent (file_id) WHERE kind = 'delete';
CREATE INDEX intent_due ON intent (due_ns);
CREATE INDEX intent_attempt ON intent (attempt_name) WHERE attempt_name IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('inode',8);
INSERT INTO "sqlite_sequence" VALUES('dentry',8);
INSERT INTO "sqlite_sequence" VALUES('intent',5);
COMMIT;
PRAGMA user_version = 1;
