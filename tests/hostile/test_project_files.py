"""A project's files, where the corpus of folders cannot show it: written files, right ones, and lines of keys."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from builder.errors import BusyError, ConfigurationError
from builder.fs.tree import Tree
from builder.host import files
from builder.host.file_lock import held_at_once
from builder.lock.lock_file import LOCK_FILE, locked, read_lock, write_lock
from builder.model.authorized_keys import key_lines
from builder.model.edits import WriteFile
from builder.model.lock import Lock
from builder.project import Project
from tests.conftest import PUBLIC_KEY
from tests.planned import plan_of

Run = Callable[..., int]
Output = pytest.CaptureFixture[str]
KIND, BLOB, _ = PUBLIC_KEY.split()
_FIELDS = (b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + bytes(64))
NO_POINT = f"ecdsa-sha2-nistp256 {base64.b64encode(b''.join(len(x).to_bytes(4, 'big') + x for x in _FIELDS)).decode()}"


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    file = tmp_path / "precious"
    file.write_text("mine")
    return file


# Written files --------------------------------------------------------------------------------------------------------


def test_the_lock_file_is_written_through_no_link(tmp_path: Path, precious: Path) -> None:
    path = tmp_path / "project" / LOCK_FILE
    path.parent.mkdir()
    (path.parent / f".{LOCK_FILE}.new").symlink_to(precious)
    path.symlink_to(precious)
    write_lock(path, Lock())
    assert precious.read_text() == "mine"
    assert not path.is_symlink()
    assert read_lock(path) == Lock()


def test_what_a_killed_build_left_beside_the_lock_file_goes(tmp_path: Path) -> None:
    left = tmp_path / f".{LOCK_FILE}.{'0' * 16}.tmp"
    left.touch()
    write_lock(tmp_path / LOCK_FILE, Lock())
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK_FILE]


@pytest.mark.parametrize("there", [True, False])
def test_a_kernel_lock_follows_no_link(tmp_path: Path, precious: Path, there: bool) -> None:
    target = precious if there else tmp_path / "new"
    (tmp_path / f".{LOCK_FILE}.lock").symlink_to(target)
    with pytest.raises(ConfigurationError, match="is a symlink, and is not followed"), locked(tmp_path / LOCK_FILE):
        pass
    assert precious.read_text() == "mine"
    assert target.exists() == there


def test_a_lock_that_is_held_is_told_at_once(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"), pytest.raises(BusyError), held_at_once(tmp_path / "lock"):
        pass
    with held_at_once(tmp_path / "lock"):
        pass


def test_render_replaces_a_link_and_does_not_follow_it(pimu: Run, precious: Path, capsys: Output) -> None:
    folder = Path("there")
    folder.mkdir()
    for name in ("user-data", ".user-data.tmp"):
        (folder / name).symlink_to(precious)
    words = ("render", "node-003", "--role", "worker", "--guest", "debian", "--to", str(folder))
    assert pimu(*words) == 2
    assert "is there already" in capsys.readouterr().err
    assert pimu(*words, "--force") == 0
    assert precious.read_text() == "mine"
    assert not (folder / "user-data").is_symlink()


def test_render_does_not_take_a_link_for_the_file_that_it_would_write(pimu: Run, tmp_path: Path) -> None:
    words = ("render", "node-003", "--role", "worker", "--guest", "debian", "--to")
    assert pimu(*words, "a") == 0
    Path("b").mkdir()
    (Path("b") / "user-data").symlink_to(Path("a/user-data").resolve())
    assert pimu(*words, "b") == 2


# Read files -----------------------------------------------------------------------------------------------------------


def test_the_project_itself_may_be_reached_through_a_link(shipped_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shipped_folder)
    assert plan_of(tmp_path / "link") == plan_of(shipped_folder)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "."])
def test_a_name_never_leaves_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "x").write_text("no")
    with pytest.raises(ConfigurationError, match="is a path out of its folder"):
        files.read_inside(tmp_path / "in", name, 10)


def test_a_device_is_not_even_opened(tmp_path: Path) -> None:
    """A fifo without a writer would stop an open that waits; one with a reader tells whether it was opened."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    before = fifo.stat().st_atime_ns
    with pytest.raises(ConfigurationError, match="is not a regular file"):
        files.read_regular(fifo, 10)
    assert fifo.stat().st_atime_ns == before


def test_plan_lists_what_is_read_from_outside(
    pimu: Run, project_folder: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("plan", "node-003", "--role", "worker", "--base", "debian-trixie")
    assert pimu(*words) == 0
    inside = capsys.readouterr().out
    assert "outside" not in inside

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "key.pub").write_text(f"{PUBLIC_KEY}\n")
    cluster = project_folder / "profiles/cluster.yaml"
    text = cluster.read_text().replace("file:profiles/access/id_ed25519.pub", "file:~/key.pub")
    cluster.write_text(text.replace("file:profiles/access/k3s-agent-token", "file:/etc/no-such-token"))
    assert pimu(*words) == 0
    told = capsys.readouterr().out.split("read from outside of the project\n")
    assert told[1].splitlines() == [
        "  /etc/no-such-token  the secret k3s-token",
        "  ~/key.pub  profiles/cluster.yaml:14",
    ]
    assert pimu(*words, "--json") == 0
    json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("mask", ["24", "255.255.255.0"])
def test_a_netmask_becomes_its_prefix_in_every_file(project_folder: Path, mask: str) -> None:
    ipv4 = f"{{address: 192.168.1.13/{mask}, gateway: 192.168.1.1, dns: [192.168.1.1]}}"
    plan = plan_of(project_folder, node=f"bridge: {{ipv4: {ipv4}}}\n")
    texts = [edit.content.decode(errors="replace") for edit in plan.edits if isinstance(edit, WriteFile)]
    assert any("192.168.1.13/24" in text for text in texts)
    assert not any("255.255.255.0" in text for text in texts)


@pytest.mark.parametrize(("mask", "prefix"), [("255.255.0.0", 16), ("255.255.255.254", 31), ("128.0.0.0", 1)])
def test_each_netmask_has_its_prefix(bare_folder: Path, mask: str, prefix: int) -> None:
    ipv4 = f"{{address: 10.20.30.40/{mask}, gateway: 10.20.30.41, dns: []}}"
    (bare_folder / "profiles/nodes/node-003.yaml").write_text(f"bridge: {{ipv4: {ipv4}}}\n")
    settings = Project(bare_folder).settings("node-003", "worker").settings
    assert settings.bridge.ipv4 != "dhcp"
    assert settings.bridge.ipv4.address == f"10.20.30.40/{prefix}"


@pytest.mark.parametrize("path", ["/CONFIG.TXT", "/OVERLAYS/new.dtbo"])
def test_a_file_of_the_base_in_another_case_is_no_other_file_to_fat(path: str) -> None:
    tree = Tree(epoch=0)
    for there in ("/config.txt", "/overlays/a.dtbo"):
        tree.apply(_file(there), {})
    with pytest.raises(ConfigurationError, match="FAT has one name"):
        tree.apply(_file(path), {})
    tree.apply(_file("/config.txt"), {})
    tree.apply(_file("/overlays/new.dtbo"), {})


def _file(path: str) -> WriteFile:
    return WriteFile(
        volume="boot", path=path, scope="golden", feature="role", origin="x", content=b"", mode=0o644, uid=0, gid=0
    )


# Public keys ----------------------------------------------------------------------------------------------------------

RIGHT = {
    "plain": (f"{KIND} {BLOB}", f"{KIND} {BLOB}"),
    "comment of words": (f"{KIND} {BLOB} me at home, é", f"{KIND} {BLOB} me at home, é"),
    "tabs": (f"{KIND}\t{BLOB}\tlaptop", f"{KIND} {BLOB} laptop"),
    "several blanks": (f"  {KIND}   {BLOB}  ", f"{KIND} {BLOB}"),
    "CR LF": (f"{KIND} {BLOB} laptop\r", f"{KIND} {BLOB} laptop"),
    "a byte order mark": (f"\ufeff{KIND} {BLOB}", f"{KIND} {BLOB}"),
    "an indented comment": (f"  # mine\n\t#\n\n{KIND} {BLOB}", f"{KIND} {BLOB}"),
    "from": (f'from="192.168.1.0/24,fd00::/8",no-agent-forwarding {KIND} {BLOB} b', None),
    "a command with blanks and quotes": (f'command="/bin/echo \\"a  b\\" #",restrict {KIND} {BLOB} b', None),
    "cert-authority": (f"cert-authority {KIND} {BLOB} ca", None),
    "an option in capitals": (f"No-PTY,X11-Forwarding {KIND} {BLOB}", None),
    "environment twice": (f'environment="A=1",environment="B=2" {KIND} {BLOB}', None),
}
WRONG = {
    "an unknown option": (f"no-such-option {KIND} {BLOB}", "no-such-option, which sshd does not know"),
    "a value without quotes": (f"command=reboot {KIND} {BLOB}", "double quotes"),
    "a quote that does not end": (f'command="reboot {KIND} {BLOB}', "not an ssh public key"),
    "an option without its value": (f"from {KIND} {BLOB}", "needs a value"),
    "a flag with a value": (f'restrict="yes" {KIND} {BLOB}', "takes no value"),
    "a comma at the end": (f"restrict, {KIND} {BLOB}", "comma"),
    "a certificate": (f"ssh-ed25519-cert-v01@openssh.com {BLOB}", "certificate"),
    "DSA": (f"ssh-dss {BLOB}", "DSA"),
    "another kind than it says": (f"ssh-rsa {BLOB}", "another kind"),
    "cut off": (f"{KIND} {BLOB[:-8]}", "cut off"),
    "no base64": (f"{KIND} !{BLOB[1:]}", "base64"),
    "a kind of nobody": (f"ssh-ed448 {BLOB}", "ssh-ed448"),
    "a terminal's escape": (f"{KIND} {BLOB} \x1b[2K", "control character"),
    "the form of RFC 4716": ("---- BEGIN SSH2 PUBLIC KEY ----", "ssh-keygen -i"),
    "a point that is on no curve": (NO_POINT, "numbers"),
}


@pytest.mark.parametrize(("text", "line"), RIGHT.values(), ids=RIGHT)
def test_keys_are_read_as_sshd_reads_them(text: str, line: str | None, tmp_path: Path) -> None:
    ((_, read),) = key_lines(text)
    assert read == (line or text)
    (tmp_path / "keys").write_text(f"{read}\n")
    judged = ["ssh-keygen", "-l", "-f", str(tmp_path / "keys")]
    assert "ED25519" in subprocess.run(judged, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("text", "reason"), WRONG.values(), ids=WRONG)
def test_what_sshd_would_not_take_is_refused_with_its_line(text: str, reason: str, bare_folder: Path) -> None:
    """And nothing of a file is quoted: it may be anything."""
    (bare_folder / "profiles/access/id_ed25519.pub").write_text(f"{KIND} {BLOB}\n\n{text}\n")
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Project(bare_folder).settings("node-003", "worker")
    assert caught.value.where == "profiles/access/id_ed25519.pub:3"
    assert BLOB[:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"{KIND} {BLOB}".encode("utf-16"), "is UTF-16 text"),
        (b"\x80\x81", "is not UTF-8 text"),
        (b"# nothing\n", "has no ssh public key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "private key"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n", "private key"),
    ],
)
def test_a_file_that_holds_no_keys_is_told_by_name(content: bytes, reason: str, bare_folder: Path) -> None:
    (bare_folder / "profiles/access/id_ed25519.pub").write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Project(bare_folder).settings("node-003", "worker")
    assert caught.value.where == "profiles/cluster.yaml:14"


# Line ends of Windows -------------------------------------------------------------------------------------------------

TEXTS = {
    "etc/systemd/system/fan.service": b"[Service]\r\nExecStart=/usr/bin/fan\r\n",
    "etc/modprobe.d/fan.conf": b"options fan speed=3\r\n",
    "etc/fan/fan.yaml": b"speed: 3\r\n",
    "etc/fstab.extra": "tmpfs /srv/ü tmpfs\r\n".encode(),
}
NO_TEXTS = {"etc/fan/blob": b"\0\r\n", "etc/fan/latin": b"\xe9\r\n", "etc/fan/unix.conf": b"speed=3\n"}


def test_text_files_with_windows_line_ends_are_told_by_the_plan(
    project_folder: Path, command_line: Run, capsys: Output
) -> None:
    root = project_folder / "overlays/roles/worker/root"
    for name, content in {**TEXTS, **NO_TEXTS, "etc/fan/made.conf.j2": b"node={{ node.name }}\r\n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    assert command_line("plan", "node-003", "--role", "worker", "--project", str(project_folder)) == 0
    (note,) = (line for line in capsys.readouterr().out.splitlines() if "CR LF" in line)
    assert note.startswith("note ")
    assert "core.autocrlf false" in note
    for name in TEXTS:
        assert f"/{name} (overlays/roles/worker/root/{name})" in note
    assert not [name for name in (*NO_TEXTS, "etc/fan/made.conf") if name in note]


def test_a_template_with_windows_line_ends_is_filled_in_with_those_of_unix(project_folder: Path) -> None:
    file = project_folder / "overlays/roles/worker/root/etc/fan.sh.j2"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"#!/bin/sh\r\necho {{ node.name }}\r\n")
    plan = plan_of(project_folder)
    (made,) = (edit for edit in plan.edits if isinstance(edit, WriteFile) and edit.path == "/etc/fan.sh")
    assert made.content == b"#!/bin/sh\necho node-003\n"
