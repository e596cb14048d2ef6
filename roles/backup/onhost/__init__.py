"""What makes, keeps, checks and restores sets on the hosts: installed there as the package ``backup_jobs``."""
