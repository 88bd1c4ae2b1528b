"""The forms in which an image goes out of the door: raw, compressed, and as a map of what matters in it."""
