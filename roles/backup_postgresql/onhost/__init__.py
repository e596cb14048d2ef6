"""What runs on the hosts: makes, checks and thins out backups, and restores. Needs Python and pgBackRest alone."""
