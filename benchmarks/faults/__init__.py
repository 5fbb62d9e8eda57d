"""Faults done to the programs on purpose, and how many of them they survive."""
