"""PostgreSQL's backups with pgBackRest: archived log, full and differential backups, point-in-time recovery."""
