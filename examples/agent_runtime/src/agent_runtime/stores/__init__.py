"""One module per kind of data service that an agent may use."""
