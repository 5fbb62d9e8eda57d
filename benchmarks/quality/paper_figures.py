"""Table 2 of the paper, as printed."""

TABLE_2 = {
    "unet": {"cost_mb": "96.6", "file_mb": "92.8", "seconds": ".22"},
    "medsegdiff": {"cost_mb": "226.6", "file_mb": "226.0", "seconds": "356.16"},
    "ddim_noise": {"cost_mb": "871.2", "file_mb": "433.0", "seconds": "8.27"},
    "lightweight_ddim_noise": {"cost_mb": "88.3", "file_mb": "84.6", "seconds": "5.80"},
}
"""By system of ours: cost and file in MB, seconds of an image."""
