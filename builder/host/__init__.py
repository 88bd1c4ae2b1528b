"""The machine that builds: programs, files, locks, processes of our own."""
