"""A package whose script attacks the machine that builds reaches nothing, as root and as an ordinary user.

Each file of tests/hostile/sandbox/ is one attack. Its first lines say what it does, what it says when it is refused,
and whether it reaches its target where nothing is in its way (it must, unless there is a reason).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.errors import MissingToolError
from builder.fs.tree import Tree
from builder.host.run import run
from builder.host.sandbox.boundary import FIRST_ID, ids, is_for_all
from builder.host.scratch import PRODUCT, sweep_folder
from builder.model.layer import ROOT_TAR
from tests.attacked import ATTACKS, EPOCH, REPORT, aim, prepare
from tests.conftest import SHIPPED

NAMES = sorted(file.stem for file in ATTACKS.glob("*.py") if file.stem not in ("all", "attack"))
PASSWORD = "of-the-proxy-5417"
PROCESS = "600.5417"
PLACE = Path("/srv")  # where the bake finds its folder, in a mount namespace of its own
UID = 54321
SUBORDINATE = "attacked:300000:65536\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, and root: needs root")


@dataclass(frozen=True)
class Attacked:
    """`folder` is what the builder had, at PLACE; `before` are the contents of its files before the bake."""

    folder: Path
    layer: Path
    made: Tree
    before: dict[str, bytes]
    targets: dict[str, object]
    log: str

    def report(self, name: str) -> tuple[int, str]:
        """Status and output of an attack."""
        node = self.made.get(f"{REPORT}/{name}")
        assert node is not None, f"{name} has not run"
        status, _, said = node.read().decode(errors="replace").partition("\n")
        return int(status), said


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Things of the host that can be reached from its processes; the files come with each bake."""
    abstract = f"pimu-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0{abstract}")
        local.listen()
        process = subprocess.Popen(["sleep", PROCESS])
        key = run(["keyctl", "add", "user", "pimu-test-key", "secret", "@u"]).text.strip()
        run(["keyctl", "setperm", key, "0x3f3f3f3f"])
        yield {
            "person": "attacked",
            "code": str(SHIPPED / "builder/__main__.py"),
            "password": PASSWORD,
            "process_name": PROCESS,
            "pid": process.pid,
            "port": server.getsockname()[1],
            "abstract": abstract,
            "disk": Path("/").stat().st_dev,
            "key": int(key),
        }
        assert process.poll() is None
        process.kill()
        process.wait()
        run(["keyctl", "unlink", key, "@u"])


FILES = {
    "secret": "home/.ssh/id_ed25519",
    "project": "project/profiles/access/k3s-token",
    "other_download": "cache/sha256/another",
}


def furnish(folder: Path) -> None:
    for name in FILES.values():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"secret: {name}\n")
        (folder / name).chmod(0o600)


def files_in(folder: Path) -> dict[str, str]:
    return {key: str(folder / name) for key, name in FILES.items()}


@pytest.fixture(scope="module", params=["root", "user"])
def attacked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, targets: dict[str, object]
) -> Attacked:
    folder = tmp_path_factory.mktemp(f"attacked-by-{request.param}")
    deb = prepare(folder)
    furnish(folder)
    aim(
        folder,
        deb,
        targets
        | files_in(PLACE)
        | {
            "downloads": str(PLACE / "cache/sha256"),
            "work": str(PLACE / "cache/work"),
        },
    )
    accounts = {"passwd": f"attacked:x:{UID}:{UID}::/srv/home:/bin/sh\n", "subuid": SUBORDINATE, "subgid": SUBORDINATE}
    for name, line in accounts.items():
        known = Path("/etc", name)
        (folder / name).write_text((known.read_text() if known.exists() else "") + line)
    become = ""
    if request.param == "user":
        run(["chown", "--recursive", f"{UID}:{UID}", folder])
        become = f"setpriv --reuid={UID} --regid={UID} --clear-groups"
    before = {str(path): path.read_bytes() for path in (folder / "cache/sha256").iterdir()}
    script = f"""
        umask 077
        mount --bind {shlex.quote(str(folder))} {PLACE}
        for name in passwd subuid subgid; do mount --bind {PLACE}/$name /etc/$name; done
        exec {become} {shlex.quote(sys.executable)} -m tests.attacked {PLACE}"""
    env = {"HOME": str(PLACE / "home"), "http_proxy": f"http://x:{PASSWORD}@127.0.0.1", "PYTHONPATH": str(SHIPPED)}
    said = run(["unshare", "--mount", "sh", "-euc", script], cwd=SHIPPED, env=env).text
    layer = folder / Path(said.strip()).relative_to(PLACE)
    made = Tree.of_layers([layer / ROOT_TAR], EPOCH)
    return Attacked(folder, layer, made, before, targets, said)


def header(name: str, word: str) -> str:
    found = re.search(rf"^# {word}: (.*)$", (ATTACKS / f"{name}.py").read_text(), re.MULTILINE)
    return found[1] if found else ""


@needs_root
@pytest.mark.disk
@pytest.mark.parametrize("name", NAMES)
def test_the_attack_fails(attacked: Attacked, name: str) -> None:
    status, said = attacked.report(name)
    assert status != 0, said
    assert re.search(header(name, "says"), said), said


@needs_root
@pytest.mark.disk
@pytest.mark.parametrize("name", [name for name in NAMES if not header(name, "control").startswith("no")])
def test_the_attack_works_where_nothing_is_in_its_way(name: str, targets: dict[str, object], tmp_path: Path) -> None:
    furnish(tmp_path)
    deb = tmp_path / "deb"
    deb.write_text("x")
    shutil.copytree(ATTACKS, tmp_path / "attacks")
    at = targets | files_in(tmp_path) | {"deb": str(deb), "person": "root"}
    (tmp_path / "attacks/targets.json").write_text(json.dumps(at))
    env = {"http_proxy": f"http://x:{PASSWORD}@127.0.0.1"}
    ended = run(["/usr/bin/python3", tmp_path / f"attacks/{name}.py"], env=env, check=False)
    assert ended.returncode == 0, ended


@needs_root
@pytest.mark.disk
def test_every_attack_has_run_and_left_the_host_as_it_was(attacked: Attacked) -> None:
    ran = {Path(name).name for name in attacked.made.entries if name.startswith(f"{REPORT}/")}
    assert ran == set(NAMES)
    assert {name: Path(name).read_bytes() for name in attacked.before} == attacked.before
    for name in FILES.values():
        assert (attacked.folder / name).read_text() == f"secret: {name}\n"
    assert not list(Path("/tmp").glob("pimu-hostile*"))
    assert not list(attacked.folder.rglob("beside"))


@needs_root
@pytest.mark.disk
def test_the_layer_belongs_to_the_builder_and_nothing_is_left_over(attacked: Attacked) -> None:
    facts = (attacked.layer / ROOT_TAR).lstat()
    assert stat.S_ISREG(facts.st_mode)
    assert stat.S_IMODE(facts.st_mode) == 0o644
    assert facts.st_uid == (attacked.folder / "home").stat().st_uid
    assert not list((attacked.folder / "cache/work").iterdir())


@needs_root
@pytest.mark.disk
def test_a_stranger_kept_from_the_sandbox_sees_a_killed_builds_room_go(tmp_path: Path) -> None:
    """The killed build's room has files of the sandbox's ids."""
    work = tmp_path / "work"
    left = work / f"{PRODUCT}0123456789abcdef"
    (left / "room/etc").mkdir(parents=True)
    run(["chown", "--recursive", f"{FIRST_ID}:{FIRST_ID}", left / "room"])
    (left / "room/etc").chmod(0)
    sweep_folder(work)
    assert not list(work.iterdir())


@pytest.mark.parametrize(
    ("maps", "wanted"),
    [
        (["0 0 4294967295"] * 2, (FIRST_ID, 65536)),
        (["0 0 1\n1 1 65536"] * 2, (1, 65536)),
        (["0 1000 1\n1 100000 65535"] * 2, (1, 65535)),
        (["0 100000 65536"] * 2, (1, 65535)),
        (["0 0 4294967295", "0 0 1\n1 100000 65536"], (1, 65536)),
    ],
    ids=["root", "user", "rootless container", "container of its own ids", "fewer groups than users"],
)
def test_the_sandbox_never_gets_the_builders_own_id(maps: list[str], wanted: tuple[int, int]) -> None:
    assert ids(*maps) == wanted


@pytest.mark.parametrize("text", ["0 0 1", "0 0 1\n1 1 65534", "0 0 1\n2 2 65536", ""])
def test_too_few_ids_are_told(text: str) -> None:
    with pytest.raises(MissingToolError, match="too few user ids"):
        ids(text, text)


def test_files_that_others_may_not_read_are_known(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open/file").write_text("x")
    (tmp_path / "open/file").chmod(0o644)
    tmp_path.joinpath("open").chmod(0o755)
    assert is_for_all(tmp_path / "open")
    assert is_for_all(tmp_path / "open/file")
    (tmp_path / "open/file").chmod(0o640)
    assert not is_for_all(tmp_path / "open")
    assert not is_for_all(tmp_path / "open/file")
    (tmp_path / "open/file").chmod(0o644)
    (tmp_path / "open").chmod(0o750)
    assert not is_for_all(tmp_path / "open")
