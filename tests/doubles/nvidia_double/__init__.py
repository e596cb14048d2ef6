"""A test double of ``nvidia-smi`` and the MPS control daemon: stateful, driven by a description of cards."""
