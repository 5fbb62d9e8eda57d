"""Readers of image files by name, one file each."""
