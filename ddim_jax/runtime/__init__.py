"""What programs need around their work: signals, locks, processes, caches, atomic writes, errors in one line."""
