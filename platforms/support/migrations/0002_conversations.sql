-- Conversations and their messages.
CREATE TABLE conversations (
    conversation_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id uuid NOT NULL REFERENCES customers ON DELETE CASCADE,
    channel text NOT NULL,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'waiting', 'escalated', 'resolved')),
    priority smallint NOT NULL DEFAULT 3 CHECK (priority BETWEEN 1 AND 5),
    opened_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz CHECK (resolved_at >= opened_at)
);
CREATE INDEX conversations_customer_idx ON conversations (customer_id, opened_at DESC);
CREATE INDEX conversations_open_idx ON conversations (priority, opened_at) WHERE status <> 'resolved';

CREATE TABLE messages (
    message_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL REFERENCES conversations ON DELETE CASCADE,
    author text NOT NULL,
    body text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX messages_conversation_idx ON messages (conversation_id, sent_at);
