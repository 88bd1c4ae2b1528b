"""pimu.lock: the files and versions that builds take. They are resolved once, and then kept."""
