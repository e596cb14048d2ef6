-- Drafts with their revisions.
CREATE TABLE drafts (
    draft_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    content text NOT NULL DEFAULT '',
    owner text NOT NULL,
    status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'review', 'final', 'abandoned')),
    revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    tags jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(tags) = 'array'),
    collaborators jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(collaborators) = 'array'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX drafts_owner_idx ON drafts (owner);
CREATE INDEX drafts_status_idx ON drafts (status, updated_at);
CREATE INDEX drafts_tags_idx ON drafts USING gin (tags);
CREATE INDEX drafts_collaborators_idx ON drafts USING gin (collaborators);

CREATE TABLE draft_revisions (
    draft_id uuid NOT NULL REFERENCES drafts ON DELETE CASCADE,
    revision integer NOT NULL CHECK (revision > 0),
    content text NOT NULL,
    author text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (draft_id, revision)
);
CREATE INDEX draft_revisions_author_idx ON draft_revisions (author);
