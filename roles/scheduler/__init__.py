"""Timers on the controller host that run the declared passes."""
