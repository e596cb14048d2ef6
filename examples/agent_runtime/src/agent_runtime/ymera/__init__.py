"""The agents of ymera: communication, config manager and drafting."""
