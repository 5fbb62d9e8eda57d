"""Faults done to the programs on purpose; what they lose is counted. `python -m tests.slow.trials` does many."""
