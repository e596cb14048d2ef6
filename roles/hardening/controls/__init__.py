"""The controls, one module for each group."""
