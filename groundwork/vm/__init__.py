"""Virtual machines with a kernel of their own, for what a container cannot show."""
