"""pimu.lock: which file of which version a build takes, resolved once and kept."""
