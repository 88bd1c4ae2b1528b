"""A table of files that packages make when they are configured, and that must differ between nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator

from builder.model.image_path import ImagePath

Action = Literal["keep", "remove", "remake"]


def _without_blank(path: str) -> str:
    if " " in path:
        raise ValueError("has a blank, and no package makes such a file")
    return path


MadePath = Annotated[ImagePath, AfterValidator(_without_blank)]
"""A path without blanks. On the Pi, the list of files to remake has a blank between the path and its package."""


@dataclass(frozen=True, slots=True)
class Known:
    """`pattern` is a path pattern (fnmatch(3)). `remaker` is a script of overlays/features/identities that makes the
    file on the Pi. It is "" if the package's own service makes the file, or nothing needs it, and None if a person must
    decide whether all nodes may share the file."""

    pattern: str
    remaker: str | None


TABLE = (
    Known("/etc/nvme/hostnqn", "nvme"),  # nvme-cli.postinst
    Known("/etc/nvme/hostid", "nvme"),
    Known("/etc/iscsi/initiatorname.iscsi", "iscsi"),  # open-iscsi.postinst
    Known("/etc/ssl/private/ssl-cert-snakeoil.key", "ssl-cert"),  # ssl-cert.postinst
    Known("/etc/ssl/certs/ssl-cert-snakeoil.pem", "ssl-cert"),
    Known("/etc/bind/rndc.key", "rndc"),  # bind9.postinst
    Known("/etc/docker/key.json", ""),  # dockerd
    Known("/var/lib/docker/engine-id", ""),
    Known("/var/lib/dkms/mok.*", ""),  # dkms, when it signs the next module
    Known("/etc/cups/ssl/*", ""),  # cupsd
    Known("/var/lib/samba/private/*.tdb", ""),  # smbd
    Known("/var/lib/tor/keys/*", ""),
    Known("/etc/cockpit/ws-certs.d/0-self-signed.*", ""),  # cockpit-certificate-ensure
    Known("/etc/dropbear/*_host_key", None),  # dropbear-initramfs: the initrd has a copy
    Known("/etc/dropbear/initramfs/*_host_key", None),
    Known("/etc/munge/munge.key", None),  # all nodes of a cluster share it
)
"""In addition, builder/bake/pack.py leaves ssh host keys, the machine-id and random seeds out of every layer."""


def known(path: str) -> Known | None:
    return next((row for row in TABLE if fnmatchcase(path, row.pattern)), None)


@dataclass(frozen=True, slots=True)
class Identities:
    """The choices of a bake about these files. `chosen` has the actions of a profile, by path. `files` (text and mode)
    and `links` (target) remake them at boot; both are by absolute path. A bake takes only the files of identities.d
    that it needs."""

    chosen: Mapping[str, Action] = field(default_factory=dict)
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
