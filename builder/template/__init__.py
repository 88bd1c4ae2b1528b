"""Templates that a project may hold: plain data in, bounded text out."""
