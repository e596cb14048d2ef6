"""The passes that run by themselves on the controller host: what each runs, when, and what it leaves behind."""
