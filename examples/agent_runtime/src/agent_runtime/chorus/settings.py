"""The settings of chorus: the one definition that the validator and the JSON Schema are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent_runtime.options import option
from agent_runtime.secret import Secret
from agent_runtime.settings import RuntimeSettings

HOST_PATTERN = r"[A-Za-z0-9:]([A-Za-z0-9.:-]{0,252}[A-Za-z0-9])?"
TOPIC_PATTERN = r"[A-Za-z0-9._-]{1,249}"
ENVIRONMENTS = ("development", "lab", "staging", "production")
DATADOG, VOICE, KAFKA = "datadog", "voice", "kafka"


@dataclass(frozen=True)
class ChorusSettings(RuntimeSettings):
    """Figures and defaults are those of the system's own documents."""

    environment: str = option("Name of the environment.", choices=ENVIRONMENTS)
    llm_api_key: Secret = option("Key of the language model's API.", minimum=8, maximum=512)
    llm_model: str = option("Name of the language model.", pattern=r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
    llm_timeout: float = option("Seconds to wait for the model.", default=30.0, minimum=1, maximum=600)
    llm_retries: int = option("Retries after a failed call of the model.", default=3, minimum=0, maximum=10)
    redis_host: str = option("Host of Redis.", pattern=HOST_PATTERN)
    redis_port: int = option("Port of Redis.", default=6379, minimum=1, maximum=65535)
    redis_username: str = option("User at Redis.", default="default", pattern=r"[A-Za-z0-9._-]{1,64}")
    redis_password: Secret = option("Password of the user at Redis.", minimum=8, maximum=512)
    redis_db: int = option("Number of the database in Redis.", default=0, minimum=0, maximum=15)
    api_host: str = option("Address that the API binds to.", default="127.0.0.1", pattern=HOST_PATTERN)
    api_port: int = option("Port of the API (of its first process).", default=8000, minimum=1, maximum=65535)
    api_workers: int = option("Processes that serve the API.", default=4, minimum=1, maximum=64)
    agents_min: int = option("Fewest simulated agents.", default=10, minimum=1, maximum=1000)
    agents_max: int = option("Most simulated agents.", default=50, minimum=1, maximum=1000)
    agent_request_interval_min: float = option(
        "Shortest wait in seconds between two requests of an agent.", default=0.5, minimum=0.01, maximum=3600
    )
    agent_request_interval_max: float = option(
        "Longest wait in seconds between two requests of an agent.", default=5.0, minimum=0.01, maximum=3600
    )
    trust_initial: float = option("Trust score of a new agent.", default=100.0, minimum=0, maximum=100)
    trust_threshold: float = option("Score below which an agent is not trusted.", default=30.0, minimum=0, maximum=100)
    trust_conflict_penalty: float = option("Points lost by a conflict.", default=10.0, minimum=0, maximum=100)
    trust_cooperation_bonus: float = option("Points won by a cooperation.", default=1.0, minimum=0, maximum=100)
    risk_threshold: float = option("Conflict risk from which it is reported.", default=0.7, minimum=0, maximum=1)
    prediction_interval: float = option("Seconds between two predictions.", default=2.0, minimum=0.1, maximum=3600)
    analysis_window: int = option("Last interactions of an agent that count.", default=20, minimum=5, maximum=1000)
    health_check_enabled: bool = option("Check the services regularly.", default=True)
    health_check_interval: float = option("Seconds between two health checks.", default=30.0, minimum=1, maximum=3600)
    health_check_timeout: float = option("Seconds that one check may take.", default=10.0, minimum=0.1, maximum=600)
    health_check_failures: int = option("Failures in a row that count as ill.", default=3, minimum=1, maximum=100)
    datadog_api_key: Secret | None = option("Datadog API key.", default=None, minimum=8, together=DATADOG)
    datadog_app_key: Secret | None = option("Datadog application key.", default=None, minimum=8, together=DATADOG)
    datadog_site: str | None = option("Datadog site.", default=None, pattern=HOST_PATTERN, together=DATADOG)
    voice_api_key: Secret | None = option("Key of the voice service.", default=None, minimum=8, together=VOICE)
    voice_id: str | None = option("Voice for spoken alerts.", default=None, pattern=r"[\w-]{1,64}", together=VOICE)
    kafka_bootstrap_servers: tuple[str, ...] | None = option(
        "Kafka servers, as host:port.",
        default=None,
        minimum=1,
        maximum=32,
        pattern=r"[^\s:,]+:\d{1,5}",
        together=KAFKA,
    )
    kafka_security_protocol: str = option(
        "How to connect to Kafka.", default="SASL_SSL", choices=("SASL_SSL", "SSL"), together=KAFKA
    )
    kafka_sasl_mechanism: str = option(
        "How to authenticate to Kafka.",
        default="PLAIN",
        choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
        together=KAFKA,
    )
    kafka_username: str | None = option("User at Kafka.", default=None, minimum=1, maximum=256, together=KAFKA)
    kafka_password: Secret | None = option("Password at Kafka.", default=None, minimum=8, together=KAFKA)
    kafka_topic_messages: str = option(
        "Topic of raw messages.", default="agent-messages-raw", pattern=TOPIC_PATTERN, together=KAFKA
    )
    kafka_topic_decisions: str = option(
        "Topic of decisions.", default="agent-decisions-processed", pattern=TOPIC_PATTERN, together=KAFKA
    )
    kafka_topic_alerts: str = option("Topic of alerts.", default="system-alerts", pattern=TOPIC_PATTERN, together=KAFKA)

    @classmethod
    def find_contradictions(cls, values: dict[str, Any]) -> list[tuple[tuple[str, ...], str]]:
        """Return the keys of settings that exclude each other, and what is allowed."""
        found: list[tuple[tuple[str, ...], str]] = []
        if values["agents_min"] > values["agents_max"]:
            found.append((("AGENTS_MIN", "AGENTS_MAX"), "AGENTS_MIN at most AGENTS_MAX"))
        if values["agent_request_interval_min"] > values["agent_request_interval_max"]:
            keys = ("AGENT_REQUEST_INTERVAL_MIN", "AGENT_REQUEST_INTERVAL_MAX")
            found.append((keys, f"{keys[0]} at most {keys[1]}"))
        if values["trust_threshold"] >= values["trust_initial"]:
            found.append((("TRUST_THRESHOLD", "TRUST_INITIAL"), "TRUST_THRESHOLD below TRUST_INITIAL"))
        if values["health_check_timeout"] >= values["health_check_interval"]:
            keys = ("HEALTH_CHECK_TIMEOUT", "HEALTH_CHECK_INTERVAL")
            found.append((keys, f"{keys[0]} below {keys[1]}"))
        if values["environment"] == "production" and values["debug"]:
            found.append((("DEBUG",), "false when ENVIRONMENT is production"))
        return found
