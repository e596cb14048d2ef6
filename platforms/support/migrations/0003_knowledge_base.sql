-- Articles of the knowledge base, with full-text search.
CREATE TABLE articles (
    article_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    body text NOT NULL,
    locale text NOT NULL DEFAULT 'en',
    published boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now(),
    search tsvector GENERATED ALWAYS AS (to_tsvector('simple', title || ' ' || body)) STORED
);
CREATE INDEX articles_search_idx ON articles USING gin (search);
