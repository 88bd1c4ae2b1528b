"""pimu-build: flashable Raspberry Pi 4 images that run an x86_64 guest."""

__version__ = "0.1.0"
