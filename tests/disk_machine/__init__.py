"""A machine of QEMU whose disks are of other kinds than those of this one: what a disk's own driver does is seen there.

Its system is of this machine's packages, put together by supermin; its kernel is any of Debian's.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from builder.host.run import run
from builder.machines.appliance import appliance_kernel

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PACKAGES = (
    *("bash", "coreutils", "diffutils", "e2fsprogs", "fdisk", "kmod", "mount", "mtools", "python3", "udev"),
    "util-linux",
)
CONFIGURATION = ("etc/passwd", "etc/group", "etc/ld.so.conf", "etc/ld.so.conf.d", "etc/udev")
"""Configuration files: supermin takes no file of a package that its owner may change."""
MEMORY = 1024  # MiB
LONGEST = 900  # seconds


def make_system(folder: Path, image: Path, serials: Iterable[str], kernel: Path | None = None) -> Path:
    """A folder with `kernel`, `initrd` and `root` of a machine that does `work` with the disks of these serial numbers.
    Without a kernel it has the one that libguestfs starts."""
    prepared, built, tree = folder / "prepared", folder / "built", folder / "tree"
    project = tree / "project"
    shutil.copytree(ROOT / "builder", project / "builder", ignore=shutil.ignore_patterns("__pycache__"))
    for module in modules_beside_python():
        (shutil.copytree if module.is_dir() else shutil.copy)(module, project / module.name)
    # Emulated, each start of the program would compile some hundred modules for ten seconds.
    run([sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", project])
    for path in (image, image.with_suffix(".manifest.json")):
        shutil.copy(path, project)
    for name in ("init", "work"):
        shutil.copy(HERE / name, tree)
    (tree / "serials").write_text(" ".join(serials))
    prepared.mkdir()
    (prepared / "packages").write_text("".join(f"{name}\n" for name in with_dependencies(PACKAGES)))
    run(["tar", "-C", "/", "-cf", prepared / "base.tar", *CONFIGURATION])
    run(["tar", "-C", tree, "-rf", prepared / "base.tar", "."])
    run(["gzip", "-1", prepared / "base.tar"])
    kernel = kernel or appliance_kernel()
    modules = kernel.parents[1] / "lib/modules" / kernel.name.partition("-")[2]
    env = {"SUPERMIN_KERNEL": str(kernel), "SUPERMIN_MODULES": str(modules)}
    run(["supermin", "--build", "-f", "ext2", "--host-cpu", "x86_64", "-o", built, prepared], env=env)
    return built


def with_dependencies(packages: Iterable[str]) -> list[str]:
    """The packages that are installed, of these and of all that they depend on."""
    without = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    words = ["apt-cache", "depends", "--recurse", "--installed", *(f"--no-{word}" for word in without)]
    named = {line.partition(":")[0] for line in run([*words, *packages]).text.splitlines() if line[:1].isalnum()}
    said = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\\n", *sorted(named)], check=False)
    return sorted({line.split()[1] for line in said.text.splitlines() if line.startswith("ii")})


def modules_beside_python() -> Iterator[Path]:
    """Top modules that the program imports and that do not come with Python, wherever they are installed."""
    program = """
import sys
import builder.cli.disks  # the module of `flash` and `list-disks`: a command's module is imported when it is called
for name in {name.partition(".")[0] for name in sys.modules}:
    print(getattr(sys.modules[name], "__file__", None))
"""
    for line in sorted(run([sys.executable, "-c", program], cwd=ROOT).text.splitlines()):
        if "-packages/" in line:
            origin = Path(line)
            yield origin.parent if origin.name == "__init__.py" else origin


def told(system: Path, devices: Iterable[str | Path]) -> Mapping[str, tuple[int, str]]:
    """The exit status and the whole output of each thing that was done, by its name."""
    uuid = run(["blkid", "-s", "UUID", "-o", "value", system / "root"]).text.strip()
    machine = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]
    machine += ["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", str(MEMORY)]
    machine += ["-kernel", str(system / "kernel"), "-initrd", str(system / "initrd")]
    machine += ["-append", f"console=ttyS0 quiet panic=1 root=UUID={uuid}"]
    machine += ["-drive", f"if=none,id=root,file={system / 'root'},format=raw", "-device", "virtio-blk,drive=root"]
    text = run([*machine, *devices], timeout=LONGEST).text.replace("\r", "")
    found = re.findall(r"^== (.*)\n((?:.*\n)*?)-- (\d+)$", text, re.MULTILINE)
    assert found, text[-4000:]
    return {what: (int(status), said) for what, said, status in found}


def fetched_kernel(folder: Path) -> Path:
    """Debian's for all hardware, with its modules, and not installed."""
    depends = run(["apt-cache", "depends", "linux-image-amd64"]).text
    package = next(line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line)
    run(["apt-get", "download", "-q", package], cwd=folder)
    run(["dpkg-deb", "-x", *folder.glob("*.deb"), folder])
    version = package.removeprefix("linux-image-")
    run(["depmod", "-b", folder, version])
    return folder / "boot" / f"vmlinuz-{version}"
