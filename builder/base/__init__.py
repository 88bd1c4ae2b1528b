"""A base's layers: bootstrapped of packages, or imported from a published image."""
