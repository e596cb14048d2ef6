"""PostgreSQL with PgBouncer in front: servers, databases, rights, migrations, partitions and replicas."""
