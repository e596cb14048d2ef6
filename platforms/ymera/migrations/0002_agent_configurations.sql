-- Configuration of agents, with every former version.
CREATE TABLE agent_configurations (
    configuration_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    agent text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    configuration jsonb NOT NULL,
    active boolean NOT NULL DEFAULT false,
    changed_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (agent, version)
);
CREATE UNIQUE INDEX agent_configurations_active_idx ON agent_configurations (agent) WHERE active;
