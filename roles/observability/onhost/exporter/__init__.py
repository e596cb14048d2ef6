"""Shows figures of nginx, PgBouncer and NATS; laid down on hosts as the package ``groundwork_exporter``."""
