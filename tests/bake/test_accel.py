"""The tree of host programs: what it takes of a package is the package's own."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from builder.bake import make_accel
from builder.bake.accel import LIBRARIES, PROGRAMS
from builder.bake.accel_tree import extract
from builder.fetch import Cache
from builder.host.run import run
from builder.model.lock import Deb, Resolution
from builder.model.progress import Silent
from builder.store.products import Store


def package(folder: Path, cache: Cache, name: str) -> Deb:
    """A .deb in the cache, of the tree in `folder`/`name`."""
    control = folder / name / "DEBIAN/control"
    control.parent.mkdir(mode=0o755)
    control.write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: x\n"
    )
    made = folder / f"{name}.deb"
    run(["dpkg-deb", "--build", "--root-owner-group", folder / name, made])
    content = made.read_bytes()
    deb = Deb(name, "1", "all", "http://archive", f"pool/{name}.deb", hashlib.sha256(content).hexdigest(), len(content))
    cache.take_in(made, deb.sha256)
    return deb


def made(deb: Deb, cache: Cache, store: Store) -> Path:
    """A folder with the trees of one package."""
    accel = make_accel(Resolution("{}", 0, (deb,)), cache, store, Silent())
    folder = store.root / "extracted"
    folder.mkdir()
    extract(accel.folder, folder)
    return folder


def test_links_lead_into_the_package_not_to_this_machine(tmp_path: Path) -> None:
    """As in kmod before Debian 13, whose depmod is a link to /bin/kmod: the builder has another one there."""
    kmod = tmp_path / "kmod"
    for folder in ("bin", "sbin", f"usr/lib/{platform.machine()}-linux-gnu"):
        (kmod / folder).mkdir(parents=True)
    (kmod / "bin/kmod").write_text("the package's own")
    (kmod / "sbin/depmod").symlink_to("/bin/kmod")
    cache, store = Cache(tmp_path / "cache"), Store(tmp_path / "store")

    accel = made(package(tmp_path, cache, "kmod"), cache, store)

    assert (accel / PROGRAMS / "usr/sbin/depmod").read_text() == "the package's own"
    assert not (accel / PROGRAMS / "usr/bin/kmod").exists()


def test_the_library_of_an_older_systemd_is_where_its_programs_look(tmp_path: Path) -> None:
    """Beside the foreign system's, in /lib/systemd, it would take that one's place."""
    systemd = tmp_path / "systemd"
    for name in ("bin/systemctl", "lib/systemd/libsystemd-shared-247.so", "lib/systemd/systemd"):
        (systemd / name).parent.mkdir(parents=True, exist_ok=True)
        (systemd / name).write_text(name)
    for name in ("journalctl", "systemd-sysusers", "systemd-tmpfiles"):
        (systemd / "bin" / name).write_text(name)
    cache, store = Cache(tmp_path / "cache"), Store(tmp_path / "store")

    accel = made(package(tmp_path, cache, "systemd"), cache, store)

    folder = accel / LIBRARIES / f"usr/lib/{platform.machine()}-linux-gnu"
    assert [path.name for path in folder.iterdir()] == ["libsystemd-shared-247.so"]
    assert not (accel / LIBRARIES / "usr/lib/systemd").exists()
    assert not (accel / PROGRAMS / "usr/lib/systemd/systemd").exists()
