"""Measurements of everything that the design promises to be fast or small: one file per subject."""
