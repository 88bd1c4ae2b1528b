"""What the design promises to be fast and small, measured: one file per subject."""
