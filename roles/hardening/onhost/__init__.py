"""Programs that are sent to a host; they need Python alone."""
