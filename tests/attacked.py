"""A bake of a package whose script attacks the machine that builds. `python -m tests.attacked FOLDER` is the bake.

The script leaves the tree that it is to configure first: root of a chroot can always do that. So the attacks run in the
whole sandbox, with the host's own Python.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from builder.bake import LayerInputs, bake
from builder.bake.binfmt import host_architecture
from builder.fetch import Cache
from builder.host.run import run, which
from builder.model.layer import ROOT_TAR
from builder.model.lock import Deb, Resolution
from builder.model.progress import Silent
from builder.store.products import Store
from tests.making import step

ATTACKS = Path(__file__).parent / "hostile/sandbox"
EPOCH = 1_700_000_000
REPORT = "etc/hostile-report"
_PROGRAMS = ("chroot", "cp", "diff", "dpkg", "dpkg-deb", "rm", "sh", "tar")
_POSTINST = f"""#!/bin/sh
set -e
top=/proc/1/root
cp -r /usr/share/hostile $top/tmp/pimu-hostile
chroot $top /usr/bin/python3 -B /tmp/pimu-hostile/all.py
cp -r $top/tmp/pimu-hostile/report /{REPORT}
rm -r $top/tmp/pimu-hostile
"""


def prepare(folder: Path) -> Deb:
    """A cache in `folder` with the package, and the system that it is for. `aim` adds the targets."""
    system = folder / "system"
    for name in ("usr/bin", "usr/lib64", "boot", "etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
        (system / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (system / "usr" / name).mkdir(exist_ok=True)
        (system / name).symlink_to(f"usr/{name}")
    for name in ("status", "available"):
        (system / "var/lib/dpkg" / name).touch()
    for program in (*_PROGRAMS, "ldconfig", "start-stop-daemon"):
        path = which(program)
        assert path is not None
        for needed in [path, *re.findall(r"(/\S+) \(0x", run(["ldd", path], check=False).text)]:
            target = system / needed.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(needed, target)
    (folder / "lower").mkdir()
    run(["tar", "-c", "--owner=0", "--group=0", "-f", folder / "lower" / ROOT_TAR, "-C", system, "."])
    return Deb("hostile", "1", host_architecture(), "http://archive", "pool/hostile.deb", "", 0)


def aim(folder: Path, deb: Deb, targets: Mapping[str, object]) -> Path:
    """Put the package, which knows its targets, into the cache. Returns its file there."""
    package = folder / "package"
    shutil.copytree(ATTACKS, package / "usr/share/hostile", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "DEBIAN").mkdir(mode=0o755)
    control = (
        f"Package: {deb.name}\nVersion: 1\nArchitecture: {deb.architecture}\nMaintainer: x <x@y>\nDescription: x\n"
    )
    (package / "DEBIAN/control").write_text(control)
    (package / "DEBIAN/postinst").write_text(_POSTINST)
    (package / "DEBIAN/postinst").chmod(0o755)
    (package / "usr/share/hostile/targets.json").write_text(json.dumps(dict(targets)))
    built = folder / "hostile.deb"
    run(["dpkg-deb", "--build", "--root-owner-group", package, built])
    content = built.read_bytes()
    known = asdict(deb) | {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (folder / "deb.json").write_text(json.dumps(known))
    cache = Cache(folder / "cache")
    cache.take_in(built, known["sha256"])
    return cache.path(known["sha256"])


def attack(folder: Path) -> Path:
    """The layer."""
    store = Store(folder / "cache")
    deb = Deb(**json.loads((folder / "deb.json").read_text()))

    def take(fresh: Path) -> None:
        shutil.copy(folder / "lower" / ROOT_TAR, fresh)

    return bake(
        Resolution("", EPOCH, (deb,)),
        LayerInputs(architecture=host_architecture()),
        lower=store.make(step("layers"), take),
        accel=None,
        cache=Cache(folder / "cache"),
        store=store,
        progress=Silent(),
        label="hostile",
    ).folder


if __name__ == "__main__":
    sys.stdout.write(f"{attack(Path(sys.argv[1]))}\n")
