"""Signals, locks, processes, caches, atomic writes and errors in one line: the surroundings of every program."""
