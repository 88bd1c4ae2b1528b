"""A plan, and what it makes of a base: the few files of each base that edits patch, and the real applying of edits."""

from __future__ import annotations

import configparser
import io
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from builder.fs.tree import Entry, Tree
from builder.model.edits import Blob, Scope, Volume
from builder.model.patches import Resolve, SecretRef, refuse_secrets
from builder.model.plan import Plan
from builder.plan import make_plan
from builder.project import Project
from builder.template.strict import render

DEBIAN = "debian-trixie"
BASES = (DEBIAN, "raspios-trixie", "raspios-bookworm", "raspios-bullseye")
ROLES = ("worker", "server")

_RASPIOS = "console=serial0,115200 console=tty1 root=PARTUUID=cb15ae4d-02 rootfstype=ext4 fsck.repair=yes rootwait"
_CMDLINE = {
    DEBIAN: "console=tty0 root=/dev/mmcblk0p2 rw fsck.repair=yes net.ifnames=0 cma=64M rootwait ",
    "raspios-trixie": f"{_RASPIOS} resize",
    "raspios-bookworm": f"{_RASPIOS} quiet init=/usr/lib/raspberrypi-sys-mods/firstboot",
    "raspios-bullseye": f"{_RASPIOS} quiet init=/usr/lib/raspi-config/init_resize.sh",
}
_ACCOUNTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "/etc/shadow": "root:*:20000:0:99999:7:::\n",
    "/etc/group": "root:x:0:\nadm:x:4:\nsudo:x:27:\ngpio:x:986:\n",
    "/etc/gshadow": "root:*::\nadm:*::\nsudo:*::\ngpio:!::\n",
    "/etc/subuid": "",
    "/etc/subgid": "",
}
_ACCOUNTS_WITH_PI = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/usr/sbin/nologin\n",
    "/etc/shadow": "root:*:20000:0:99999:7:::\npi:!:20000:0:99999:7:::\n",
    "/etc/group": "root:x:0:\nadm:x:4:pi\nsudo:x:27:pi\ngpio:x:986:pi\nspi:x:989:root,pi\npi:x:1000:\n",
    "/etc/gshadow": "root:*::\nadm:*::pi\nsudo:*::pi\ngpio:!::pi\nspi:!::root,pi\npi:!::\n",
    "/etc/subuid": "pi:100000:65536\n",
    "/etc/subgid": "pi:100000:65536\n",
}
_CONFIG_TXT = "arm_64bit=1\n\n[cm4]\notg_mode=1\n\n[all]\n"


@dataclass(frozen=True)
class Pi:
    boot: Tree
    root: Tree

    def entry(self, path: str, volume: Volume = "root") -> Entry | None:
        return (self.boot if volume == "boot" else self.root).get(path)

    def text(self, path: str, volume: Volume = "root") -> str:
        entry = self.entry(path, volume)
        assert entry is not None, f"there is no {path}"
        return entry.read().decode()

    def ini(self, path: str) -> configparser.ConfigParser:
        """systemd's and NetworkManager's files; a key that is set twice keeps its last value."""
        parser = configparser.ConfigParser(delimiters="=", interpolation=None, strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(self.text(path))
        return parser

    def is_masked(self, unit: str) -> bool:
        entry = self.entry(f"/etc/systemd/system/{unit}")
        return entry is not None and entry.target == "/dev/null"

    def is_enabled(self, unit: str) -> bool:
        wants = [path for path in self.root.entries if path.endswith(f".wants/{unit}")]
        return bool(wants) and not self.is_masked(unit)


def plan_of(folder: Path, *, role: str = "worker", base: str = DEBIAN, node: str = "", name: str = "") -> Plan:
    """The plan of a node of the project in `folder`, node-003 or the cluster's server; `node` is the text of its file
    in profiles/nodes."""
    name = name or {"server": "node-001"}.get(role, "node-003")
    if node:
        (folder / f"profiles/nodes/{name}.yaml").write_text(node)
    project = Project(folder)
    return make_plan(project.settings(name, role, base), project.overlays, project.seed, project.answers, render=render)


def pi_of(
    plan: Plan, *, scopes: tuple[Scope, ...] = ("golden", "node"), secrets: Resolve = refuse_secrets, times: int = 1
) -> Pi:
    """The base after the edits, applied `times` times."""
    pi = Pi(
        _tree({"/cmdline.txt": f"{_CMDLINE[plan.settings.base]}\n", "/config.txt": _CONFIG_TXT}), _tree(_root(plan))
    )
    blobs = dict.fromkeys(get_args(Blob), Path(__file__))
    for _ in range(times):
        for edit in plan.edits:
            if edit.scope in scopes:
                (pi.boot if edit.volume == "boot" else pi.root).apply(edit, blobs, secrets)
    return pi


def placeholder(secret: SecretRef) -> str:
    """In the place of a secret that a test has no use for."""
    return f"what {secret.describe()} holds"


def _root(plan: Plan) -> dict[str, str]:
    accounts = _ACCOUNTS_WITH_PI if plan.base.first_user == "pi" else _ACCOUNTS
    files = {"/usr/lib/qemu/qemu-bridge-helper": "", "/var/lib/dpkg/statoverride": ""}
    return accounts | files | ({"/etc/dhcpcd.conf": "hostname\nclientid\n"} if plan.base.network == "dhcpcd" else {})


def _tree(files: dict[str, str]) -> Tree:
    tree = Tree(epoch=0)
    for path, text in files.items():
        content = text.encode()
        tree.entries[path.strip("/")] = Entry(
            "file",
            0o644,
            size=len(content),
            content=lambda content=content: io.BytesIO(content),  # type: ignore[misc]
        )
    return tree
