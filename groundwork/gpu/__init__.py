"""What is known about GPUs before a host is asked: products, their MIG profiles, and how groups share a card."""
