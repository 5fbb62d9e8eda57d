"""Image files: found, read, written, resized."""
