"""What runs on hosts; each a program of its own."""
