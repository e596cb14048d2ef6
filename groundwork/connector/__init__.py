"""pyinfra's SSH connector with one remote shell that stays, and facts that are asked ahead of time."""
