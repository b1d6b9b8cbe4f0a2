-- Bytes that were uploaded, or are being. A content's token is in no other row and is never used again, so a file that
-- has a token in its name, and no row here, belongs to nobody.
CREATE TABLE content (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    token TEXT NOT NULL UNIQUE,
    place TEXT NOT NULL CHECK (place IN ('disk', 'database')),
    size INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0), -- what is durable
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'sealed', 'dropped')),
    repository TEXT NOT NULL, -- for whose sake it was begun, by name: an upload makes no repository
    touched_at REAL NOT NULL -- seconds since 1970: state or size changed
) STRICT;

CREATE INDEX content_unsealed ON content (state, touched_at) WHERE state <> 'sealed';

CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    content INTEGER NOT NULL REFERENCES content,
    start INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (content, start)
) STRICT;

CREATE TABLE repository (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE blob (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    content INTEGER NOT NULL UNIQUE REFERENCES content
) STRICT;

-- Which repository has which blob; one that none has is gone.
CREATE TABLE link (
    repository INTEGER NOT NULL REFERENCES repository,
    blob INTEGER NOT NULL REFERENCES blob,
    PRIMARY KEY (repository, blob)
) STRICT, WITHOUT ROWID;

CREATE INDEX link_blob ON link (blob);

CREATE TABLE manifest (
    id INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL REFERENCES repository,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    body BLOB NOT NULL,
    subject TEXT,
    artifact_type TEXT,
    annotations TEXT NOT NULL, -- JSON
    UNIQUE (repository, digest)
) STRICT;

CREATE INDEX manifest_subject ON manifest (repository, subject) WHERE subject IS NOT NULL;

CREATE TABLE tag (
    repository INTEGER NOT NULL REFERENCES repository,
    name TEXT NOT NULL,
    manifest INTEGER NOT NULL REFERENCES manifest ON DELETE CASCADE,
    PRIMARY KEY (repository, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX tag_manifest ON tag (manifest);
CREATE INDEX tag_in_order ON tag (repository, name COLLATE NOCASE, name);
