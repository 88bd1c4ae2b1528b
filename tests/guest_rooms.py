"""A guest's own scripts, run for real: in namespaces whose files are gone with them, by the shells that guests have."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import SHIPPED
from tests.planned import plan_of

SCRIPTS = SHIPPED / "overlays/guests/seed/root/usr/lib/pimu"
ACCOUNT = SHIPPED / "tests/alpine_standin/system/sbin/account"
SHELLS = ("dash", "busybox sh")
_BUSYBOX_TOOLS = "cat chmod chown grep ln mkdir mv rm sed sync"
_ACCOUNT_TOOLS = "adduser addgroup deluser delgroup chpasswd"
# The seed is there already, and so mount has nothing to do.
_IN_A_GUEST = """
set -eu
for name in etc usr var home; do
    mkdir -p "$1/$name" "$1/work-$name"
    mount -t overlay -o "lowerdir=/$name,upperdir=$1/$name,workdir=$1/work-$name" overlay /$name
done
mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys
mkdir -p /run/pimu-seed
cp "$1"/seed/* /run/pimu-seed
PATH=$2
cd /
eval "$3"
"""


@dataclass(frozen=True)
class GuestRoom:
    """`folder` holds what the scripts write: etc, usr, var, home; and seed, which they read."""

    folder: Path
    shell: str

    def run(self, *scripts: str, before: str = "", after: str = "") -> str:
        """The output of the guest's scripts, one after the other, with `before` and `after` as lines of sh."""
        tools = self._tools()
        words = [f"{self.shell} {SCRIPTS / script}" for script in scripts]
        lines = "\n".join([before, *words, after])
        command = ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", _IN_A_GUEST]
        path = f"{tools}:{'' if self.shell.startswith('busybox') else '/usr/sbin:/usr/bin:/sbin:/bin'}".rstrip(":")
        ended = subprocess.run(
            [*command, "sh", self.folder, path, lines], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def text(self, name: str) -> str:
        file = self.folder / name
        return file.read_text() if file.exists() else ""

    def account(self, name: str) -> list[str]:
        """The account's line of passwd: name, password, ids, comment, folder, shell."""
        (line,) = [line for line in self.text("etc/passwd").splitlines() if line.startswith(f"{name}:")]
        return line.split(":")

    def _tools(self) -> Path:
        """Programs that come first: for busybox's shell, busybox's tools alone."""
        tools = self.folder / "tools"
        if tools.exists():
            return tools
        tools.mkdir()
        programs = {"mount": "exit 0", "udhcpc": ""}
        programs["busybox"] = (
            'case $1 in udhcpc) echo "udhcpc $*" >>"${0%/*}/../asked" ;; *) exec /usr/bin/busybox "$@" ;; esac'
        )
        for name, script in programs.items():
            (tools / name).write_text(f"#!/usr/bin/dash\n{script}\n")
            (tools / name).chmod(0o755)
        if self.shell.startswith("busybox"):
            for name in _BUSYBOX_TOOLS.split():
                (tools / name).symlink_to("/usr/bin/busybox")
            for name in _ACCOUNT_TOOLS.split():
                (tools / name).symlink_to(ACCOUNT)
        return tools


def guest_room(folder: Path, project: Path, shell: str, guest: str = "debian", **files: str | bytes) -> GuestRoom:
    """A room with the seed that the build makes of these files of cloud-init/ (`user_data`, ...)."""
    for key, content in files.items():
        name = key.replace("_", "-")
        (project / f"cloud-init/{name}.j2").unlink(missing_ok=True)
        (project / f"cloud-init/{name}").write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "seed").mkdir(parents=True)
    for file in plan_of(project, node=f"guest: {guest}\n").seed:
        (folder / "seed" / file.name).write_bytes(file.content)
    return GuestRoom(folder, shell)
