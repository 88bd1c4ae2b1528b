"""Names of the files in a layer's folder."""

from __future__ import annotations

from typing import Final

ROOT_TAR: Final = "root.tar"
"""The root volume's part of the layer: an OCI image-layer tar, with whiteouts."""

BOOT_TAR: Final = "boot.tar"
"""The whole boot volume; a layer that does not change it has none."""

DPKG_STATUS: Final = "dpkg-status"
"""dpkg's status file after this layer, beside the tars: apt reads it at each resolution."""

KEYRINGS: Final = "keyrings"
"""Folder of the keyrings that an imported image's own apt sources name."""
