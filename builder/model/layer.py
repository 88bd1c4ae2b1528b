"""Names of the files in a layer's folder."""

from __future__ import annotations

from typing import Final

ROOT_TAR: Final = "root.tar"
"""The layer's files of the root volume: an OCI image-layer tar, with whiteouts."""

BOOT_TAR: Final = "boot.tar"
"""The whole boot volume. A layer that does not change it has no such file."""

DPKG_STATUS: Final = "dpkg-status"
"""dpkg's status file after this layer. It is outside of the tars because apt reads it at each resolution."""

KEYRINGS: Final = "keyrings"
"""Folder with the keyrings that the apt sources of an imported image name."""
