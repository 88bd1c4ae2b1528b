"""The source of Alpine for the tests: a stand-in for its ISO with a mirror or, with PIMU_ALPINE_ISO=FILE, the real one
of the release that the profile pins (then the network is needed)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.alpine_standin import fill_mirror, make_iso
from tests.fetch.test_signatures import Key
from tests.loopback import Site, serving

REAL = os.environ.get("PIMU_ALPINE_ISO")


@dataclass(frozen=True)
class Shop:
    """An ISO, its mirror as this host has it, a folder with what both were made of, and the mirror's server."""

    iso: Path
    mirror: str
    work: Path
    site: Site | None = None


@contextmanager
def open_shop(work: Path) -> Iterator[Shop]:
    if REAL:
        yield Shop(Path(REAL), "", work)
        return
    with serving() as site:
        fill_mirror(site, "v3.15", work)
        mirror = fill_mirror(site, "v3.22", work)
        make_iso(work / "alpine.iso", work)
        yield Shop(work / "alpine.iso", mirror, work, site)


def take_from(shop: Shop, project: Path, **other: Any) -> None:
    """Make the guest `alpine` of a project one from the shop; `other` are keys of its source."""
    profile = project / "profiles/guests/alpine.yaml"
    data = yaml.safe_load(profile.read_text())
    data["source"] |= {**({"mirror": shop.mirror} if shop.mirror else {}), **other}
    profile.write_text(yaml.safe_dump(data, sort_keys=False))


def publish(shop: Shop, site: Site, key: Key) -> Mapping[str, Any]:
    """Put the ISO on a server, as its publisher does; the keys of a source that finds it there."""
    digest = hashlib.sha256(shop.iso.read_bytes()).hexdigest()
    site.pages |= {
        "/alpine.iso": shop.iso.read_bytes(),
        "/alpine.iso.sha256": f"{digest}  alpine.iso\n".encode(),
        "/alpine.iso.asc": key.sign(shop.iso, armor=True),
    }
    signer = {"fingerprint": key.fingerprint, "key": key.public().decode()}
    return {"urls": [f"{site.url}/alpine.iso"], "sha256": digest, "signer": signer}
