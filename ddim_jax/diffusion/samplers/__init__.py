"""The reverse process, one file for each sampler."""
