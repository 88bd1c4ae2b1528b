"""Same inputs, same bytes: a second build by somebody else, somewhere else, some other day, with nothing in its cache
but the downloads.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from builder.build import Built
from builder.fs.chunks import digests
from builder.host.run import run
from builder.model.manifest import Manifest
from builder.store import upkeep
from tests.conftest import PROJECT, SHIPPED, copy_shipped
from tests.planned import DEBIAN

pytestmark = pytest.mark.disk

PLACE = Path("/srv")  # where the other user finds his world, in a mount namespace of his own
UID = 54321
SUBORDINATE = "elsewhere:300000:65536\n"
CLOCK = {"FAKETIME": "+400d", "NO_FAKE_STAT": "1"}
ENVIRONMENT = {
    "LC_ALL": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
    "PYTHONHASHSEED": "4711",
}

BUILDING = ("--offline", "--jobs", "1")

# Our clean environment keeps the false clock from the tools that it is meant for, so this build lets it through. The
# programs that make the boundary go without: the clock's semaphore is of one user, and behind the boundary is another.
PROGRAM = f"""
import os, sys, time
assert time.time() - os.stat("/etc/passwd").st_mtime > 300 * 86400
from builder.host import run, sandbox
CLOCK = {("LD_PRELOAD", *CLOCK)!r}
run._KEPT += CLOCK
command = sandbox.command

def inside(argv, shared, *, env, **words):
    late = [f"{{name}}={{env[name]}}" for name in CLOCK]
    return command(["env", *late, *argv], shared, env={{k: v for k, v in env.items() if k not in CLOCK}}, **words)

sandbox.command = inside
from builder.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("cold", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["base shared", "all cold"])
def test_another_user_elsewhere_another_day_makes_the_same_image(built: Built, tmp_path: Path, cold: bool) -> None:
    is_made_elsewhere(built, SHIPPED, tmp_path / "world", [] if cold else bootstrapped())


def is_made_elsewhere(built: Built, project: Path, world: Path, made: Iterable[Path], *words: str) -> None:
    """Build again, with `made` of the cache and the downloads alone."""
    furnish(world, project, made)

    elsewhere(world, "node-003", "--role", "worker", *(words or ("--base", DEBIAN)), *BUILDING)

    image, manifest = world / "output/node-003.img", world / "output/node-003.manifest.json"
    theirs = Manifest.from_json(manifest.read_text(), "theirs")
    assert tuple(digests(image)) == theirs.image.chunks
    assert theirs.image.digest == Manifest.from_json(built.manifest.read_text(), "ours").image.digest
    assert manifest.read_text() == built.manifest.read_text()


def furnish(world: Path, project: Path, made: Iterable[Path]) -> None:
    """The project in another folder, a cache with downloads and what was made."""
    for name in ("home", "tmp", "venv", "cache"):
        (world / name).mkdir(parents=True)
    copy_shipped(world / "project", "builder")
    for name in PROJECT:
        shutil.copytree(project / name, world / "project" / name, symlinks=True)
    shutil.copy(project / "pimu.lock", world / "project")
    for folder in (Path("sha256"), *made):
        shutil.copytree(upkeep.default_root() / folder, world / "cache" / folder, copy_function=link)
    accounts = {"passwd": f"elsewhere:x:{UID}:{UID}::/:/bin/sh\n", "subuid": SUBORDINATE, "subgid": SUBORDINATE}
    for name, line in accounts.items():
        known = Path("/etc", name)
        (world / name).write_text((known.read_text() if known.exists() else "") + line)
    for path in (world, *(path for path in world.rglob("*") if path.parent.name != "sha256")):
        if path.lstat().st_nlink == 1 or path.is_dir():
            os.chown(path, UID, UID, follow_symlinks=False)


def bootstrapped() -> Iterator[Path]:
    """The results that were made of packages, but none of a role's: the base and the guest."""
    root = upkeep.default_root()
    for file in (*root.glob("layers/*/step.json"), *root.glob("guests/*/step.json")):
        if json.loads(file.read_text())["inputs"].get("lower") is None:
            yield file.parent.relative_to(root)


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another filesystem
        shutil.copy2(source, target)


def elsewhere(world: Path, *words: str) -> None:
    """`pimu-build WORD...`, by the other user in his world."""
    run(["unshare", "--mount", "sh", "-euc", _script(world, *words)])


def _script(world: Path, *words: str) -> str:
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    environment = (
        ENVIRONMENT
        | CLOCK
        | {
            "HOME": f"{PLACE}/home",
            "TMPDIR": f"{PLACE}/tmp",
            "PIMU_CACHE": f"{PLACE}/cache",
            "PYTHONPATH": f"{PLACE}/project",
            "LD_PRELOAD": str(library),
        }
    )
    places = ["--project", f"{PLACE}/project", "--output", f"{PLACE}/output"]
    user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--"]
    settings = [f"{name}={value}" for name, value in environment.items()]
    program = [f"{PLACE}/venv/bin/python", "-c", PROGRAM]
    return f"""
        mount --bind {shlex.quote(sys.prefix)} {shlex.quote(str(world / "venv"))}
        for name in passwd subuid subgid; do mount --bind {shlex.quote(str(world))}/$name /etc/$name; done
        mount --rbind {shlex.quote(str(world))} {PLACE}
        umask 077
        cd /
        exec {shlex.join([*user, "env", "-i", *settings, *program, *words, "--quiet", *places])}
    """
