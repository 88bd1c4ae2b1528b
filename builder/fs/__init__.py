"""Filesystems and disks as files: written and read, never mounted."""
