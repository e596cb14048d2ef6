"""Role container_engine: Docker from Debian, hardened, on hosts whose agent groups run as containers."""
