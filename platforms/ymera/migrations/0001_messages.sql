-- Messages between agents, partitioned by the month of their creation. PostgreSQL takes no INDEX clause inside
-- CREATE TABLE, so indexes follow it; a primary key must hold the partition key.
CREATE TABLE message_history (
    message_id uuid NOT NULL DEFAULT gen_random_uuid(),
    type text NOT NULL,
    sender text NOT NULL,
    recipients jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(recipients) = 'array'),
    subject text NOT NULL DEFAULT '',
    payload jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'delivered', 'failed')),
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (message_id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX message_history_sender_idx ON message_history (sender, created_at);
CREATE INDEX message_history_created_at_idx ON message_history (created_at);
CREATE INDEX message_history_status_idx ON message_history (status);

-- Takes what no month's partition takes, so that a late maintenance run loses no message.
CREATE TABLE message_history_default PARTITION OF message_history DEFAULT;

CREATE TABLE conversation_archive (
    conversation_id uuid PRIMARY KEY,
    participants jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(participants) = 'array'),
    messages jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(messages) = 'array'),
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL CHECK (ended_at >= started_at),
    archived_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX conversation_archive_archived_at_idx ON conversation_archive (archived_at);
