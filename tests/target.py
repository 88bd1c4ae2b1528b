"""A finished image unpacked, and its own programs run in it by emulation: what the Pi's systemd, sshd, sudo and kernel
hooks make of what was baked. `python -m tests.target` is the half inside the sandbox.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from builder.bake import binfmt
from builder.bake.mounts import machine, overlay
from builder.host.run import run
from builder.host.sandbox import run_trusted
from builder.model.manifest import DiskFacts


@dataclass(frozen=True)
class Outcome:
    """The output of a script, both streams, and the places of the files that it wrote: by path on their volume."""

    status: int
    output: str
    written: dict[str, Path]
    boot: Path


@dataclass(frozen=True)
class Target:
    """`tree` and `boot` are the contents of the image's volumes. Nothing that runs here changes them."""

    work: Path
    architecture: str
    boot_mount: str

    @property
    def tree(self) -> Path:
        return self.work / "tree"

    @property
    def boot(self) -> Path:
        return self.work / "boot"

    def run(self, script: str) -> Outcome:
        """Run a shell script of the target's programs, each time in the system as it was baked."""
        name = f"run-{len(list(self.work.glob('*.sh')))}"
        upper, boot = self.work / name, self.work / f"{name}.boot"
        (self.work / f"{name}.sh").write_text(script)
        run(["cp", "-a", self.boot, boot])
        run_trusted("tests.target", self.work, name, self.architecture, self.boot_mount, on_line=lambda _: None)
        status, output = json.loads((self.work / f"{name}.json").read_text())
        files = (path for path in upper.rglob("*") if path.is_symlink() or not path.is_dir())
        return Outcome(status, output, {f"/{path.relative_to(upper)}": path for path in files}, boot)


def unpack(image: Path, layout: DiskFacts, architecture: str, boot_mount: str, work: Path) -> Target:
    target = Target(work, architecture, boot_mount)
    unpack_ext4(image, layout.root_start, target.tree)
    target.boot.mkdir()
    run(["mcopy", "-s", "-n", "-i", f"{image}@@{layout.boot_start}", "::/", target.boot])
    return target


def unpack_ext4(image: Path, start: int, folder: Path) -> None:
    """Without a mount, so without root; hard links become files of their own."""
    folder.mkdir()
    run(["debugfs", "-R", f"rdump / {folder}", f"{image}?offset={start}"])


def unpack_initrd(initrd: Path, folder: Path) -> Path:
    run(["unmkinitramfs", initrd, folder])
    return folder


def main(folder: str, name: str, architecture: str, boot_mount: str) -> None:
    work = Path(folder)
    binfmt.enable(architecture)
    with overlay(work, [work / "tree"], work / name) as root, machine(root, work / f"{name}.boot", boot_mount):
        script = f"exec 2>&1\n{(work / f'{name}.sh').read_text()}"
        result = run(["chroot", root, "sh", "-c", script], check=False)
    (work / f"{name}.json").write_text(json.dumps([result.returncode, result.text]))


if __name__ == "__main__":
    main(*sys.argv[1:])
