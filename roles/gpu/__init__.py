"""GPU shares: MIG instances, MPS daemons and time slicing, planned once and mapped to the processes that use them."""
