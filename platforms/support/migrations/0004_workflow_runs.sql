-- Runs of the agents' workflows and the answers of each step.
CREATE TABLE workflow_runs (
    run_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid REFERENCES conversations ON DELETE SET NULL,
    workflow text NOT NULL,
    pattern text NOT NULL CHECK (pattern IN ('sequential', 'parallel', 'debate', 'verification', 'expert_panel')),
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'failed')),
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX workflow_runs_started_idx ON workflow_runs (started_at);

CREATE TABLE workflow_steps (
    run_id uuid NOT NULL REFERENCES workflow_runs ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 0),
    agent text NOT NULL,
    answer jsonb NOT NULL DEFAULT '{}',
    seconds double precision CHECK (seconds >= 0),
    PRIMARY KEY (run_id, position)
);
CREATE INDEX workflow_steps_agent_idx ON workflow_steps (agent);
