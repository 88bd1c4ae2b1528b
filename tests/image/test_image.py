"""The image that a real build of node-003 has made: its disk, its files, and what its own programs say of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from builder.bake.elf import MACHINES, machine_of
from builder.build import Built
from builder.features.keys import keys_of
from builder.features.overclock.settings import OverclockKeys
from builder.host.run import run
from builder.model.edits import WriteFile
from builder.model.manifest import Manifest
from tests.planned import pi_of, plan_of
from tests.target import Target, unpack_ext4, unpack_initrd

pytestmark = pytest.mark.disk

SECTOR = 512

# Code for other processors that an emulator or a boot loader is given as data, and the VideoCore's own.
FOR_OTHERS = re.compile(
    r"usr/share/(qemu|seabios)/|usr/lib/(ipxe|grub|raspi-firmware|firmware)/|boot/grub/|start\w*\.elf$"
)


def test_partitions_are_where_the_manifest_says(built: Built, manifest: Manifest) -> None:
    table = json.loads(run(["sfdisk", "-J", built.image]).text)["partitiontable"]
    layout = manifest.layout
    assert (table["label"], table["id"]) == ("dos", layout.disk_id)
    assert [(part["start"] * SECTOR, part["size"] * SECTOR, part["type"]) for part in table["partitions"]] == [
        (layout.boot_start, layout.boot_size, "c"),
        (layout.root_start, layout.root_size, "83"),
    ]
    assert layout.root_start + layout.root_size == manifest.image.size == built.image.stat().st_size


def test_the_root_volume_is_as_planned_and_clean(built: Built, manifest: Manifest) -> None:
    volume, layout = f"{built.image}?offset={manifest.layout.root_start}", built.plan.layout
    shown = run(["debugfs", "-R", "show_super_stats -h", volume]).text
    facts = dict(re.findall(r"^([^:\n]+):\s+(.*)$", shown, re.MULTILINE))
    assert facts["Filesystem volume name"] == layout.root_label
    assert facts["Filesystem UUID"] == layout.root_uuid
    assert facts["Directory Hash Seed"] == layout.root_hash_seed
    assert facts["Filesystem state"] == "clean"
    assert int(facts["Block count"]) * int(facts["Block size"]) == manifest.layout.root_size
    assert {"metadata_csum", "64bit", "resize_inode", "has_journal"} <= set(facts["Filesystem features"].split())
    assert "needs_recovery" not in facts["Filesystem features"]
    assert int(facts["Free blocks"]) * int(facts["Block size"]) >= layout.root_margin
    assert run(["e2fsck", "-fn", volume], check=False).returncode == 0


def test_the_boot_volume_is_as_planned(built: Built, manifest: Manifest) -> None:
    start = str(manifest.layout.boot_start)
    shown = run(["blkid", "--probe", "--output", "export", "--offset", start, built.image]).text
    facts = dict(re.findall(r"^(\w+)=(.*)$", shown, re.MULTILINE))
    volume_id = f"{built.plan.layout.boot_volume_id:08X}"
    assert (facts["LABEL"], facts["VERSION"], facts["TYPE"]) == (built.plan.layout.boot_label, "FAT32", "vfat")
    assert facts["UUID"] == f"{volume_id[:4]}-{volume_id[4:]}"


def test_the_firmware_has_its_stages_and_the_device_tree(target: Target) -> None:
    """The boot volume has the files that the Pi 4's boot ROM and firmware ask for by name (raspberrypi.com, boot folder
    contents)."""
    for name in ("start4.elf", "fixup4.dat", "bcm2711-rpi-4-b.dtb"):
        assert (target.boot / name).stat().st_size > 4096


def test_the_firmware_is_told_clock_kernel_and_root(target: Target, built: Built) -> None:
    settings(target.boot, built)
    words = kernel_words(target.boot)
    assert f"root=PARTUUID={built.plan.identity.partuuid}-02" in words
    assert [word for word in words if word.startswith("root=")] == [words[-1]]


def settings(boot: Path, built: Built) -> None:
    """config.txt: the overclock in its block, after the files that the firmware loads."""
    config = (boot / "config.txt").read_text().splitlines()
    overclock = keys_of(built.plan.settings, OverclockKeys).overclock
    assert overclock is not None
    begin = config.index("[pi4]")
    assert config[begin : begin + 4] == [
        "[pi4]",
        f"arm_freq={overclock.arm_freq}",
        f"over_voltage={overclock.over_voltage}",
        "[all]",
    ]
    loaded = [line for line in config[:begin] if line.startswith(("kernel=", "initramfs "))]
    assert len(loaded) == 2
    assert all((boot / re.split("[= ]", line)[1]).is_file() for line in loaded)


def kernel_words(boot: Path) -> list[str]:
    """cmdline.txt: one line; both consoles, the serial one last; none of an older Pi's words."""
    (line,) = (boot / "cmdline.txt").read_text().splitlines()
    words = line.split()
    assert [word for word in words if word.startswith("console=")] == ["console=tty0", "console=ttyS1,115200"]
    assert not [word for word in words if word.startswith(("cma=", "init=")) or word == "resize"]
    return words


def test_a_kernel_update_on_the_pi_keeps_clock_consoles_and_root(target: Target, built: Built) -> None:
    hook = """
        mkdir -p /sys/firmware/devicetree/base
        echo 'Raspberry Pi 4 Model B Rev 1.4' >/sys/firmware/devicetree/base/model
        : >/dev/ttyS1
        echo clobbered >/boot/firmware/config.txt; echo clobbered >/boot/firmware/cmdline.txt
        DEB_MAINT_PARAMS=configure /etc/kernel/postinst.d/z50-raspi-firmware
    """
    after = target.run(hook)
    assert after.status == 0, after.output
    settings(after.boot, built)
    roots = [word for word in kernel_words(after.boot) if word.startswith("root=")]
    assert roots[-1] == f"root=PARTUUID={built.plan.identity.partuuid}-02"


def test_a_kernel_update_on_the_pi_keeps_own_lines_words_and_quirks(target: Target, project_folder: Path) -> None:
    """The package's own hook, with the files of a node that asks for them."""
    node = "boot: {config: {pi400: [gpu_mem=16]}, kernel_words: [pcie_aspm=off], usb_quirks: {'152d:0578': u}}\n"
    pi = pi_of(plan_of(project_folder, node=node))
    files = ("/etc/default/raspi-firmware-custom", "/etc/default/raspi-extra-cmdline")
    placed = "".join(f"cat >{path} <<'END'\n{pi.text(path)}END\n" for path in files)

    after = target.run(f"{placed}DEB_MAINT_PARAMS=configure /etc/kernel/postinst.d/z50-raspi-firmware\n")

    assert after.status == 0, after.output
    config = (after.boot / "config.txt").read_text().splitlines()
    begin = config.index("[pi400]")
    assert config[begin - 1 : begin + 3] == ["[all]", "[pi400]", "gpu_mem=16", "[all]"]
    assert "arm_freq=2000" in config[:begin]
    words = (after.boot / "cmdline.txt").read_text().split()
    assert words[-2:] == ["pcie_aspm=off", "usb-storage.quirks=152d:0578:u"]


def test_nothing_of_a_machine_and_no_secret_is_baked_in(target: Target, built: Built) -> None:
    etc = target.tree / "etc"
    assert (etc / "machine-id").read_bytes() == b""
    assert (target.tree / "var/lib/dbus/machine-id").readlink() == Path("/etc/machine-id")
    assert not list(etc.glob("ssh/ssh_host_*"))
    for path in ("var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "etc/resolv.conf"):
        assert not (target.tree / path).exists()
    assert not [path for path in (target.tree / "var/log").rglob("*") if path.is_file()]
    assert (etc / "hostname").read_text() == "node-003\n"
    assert built.plan.settings.user.password is None
    passwords = {line.split(":")[1] for line in (etc / "shadow").read_text().splitlines()}
    assert passwords <= {"*", "!", "!*"}


def test_accounts_have_the_days_of_the_archive_not_of_the_build(target: Target, manifest: Manifest) -> None:
    shadow = target.tree / "etc/shadow"
    facts = run(["stat", "--format", "%a %u %g", shadow]).text.split()
    assert facts == ["640", "0", "42"]
    days = {line.split(":")[2] for line in shadow.read_text().splitlines()} - {""}
    assert days <= {str(resolution["epoch"] // 86400) for resolution in manifest.lock.values()}


def test_nothing_is_younger_than_the_archive(target: Target, manifest: Manifest) -> None:
    newest = max(resolution["epoch"] for resolution in manifest.lock.values())
    files = (path for path in target.tree.rglob("*") if path.is_file() and not path.is_symlink())
    assert not [path for path in files if path.stat().st_mtime > newest]


def test_no_program_in_the_image_is_for_another_machine(target: Target, tmp_path: Path) -> None:
    assert foreign(target.tree, "arm64") == []
    assert foreign(target.boot, "arm64") == []
    (initrd,) = target.boot.glob("initrd.img-*")
    inside = unpack_initrd(initrd, tmp_path / "initrd")
    assert foreign(inside, "arm64") == []
    assert (inside / "main/usr/bin/kmod").is_file()


def test_no_program_of_the_guest_is_for_another_machine(target: Target, tmp_path: Path) -> None:
    guest, raw = target.tree / "usr/share/pimu/guest", tmp_path / "disk.raw"
    run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", guest / "base.qcow2", raw])
    unpack_ext4(raw, 0, tmp_path / "tree")
    assert foreign(tmp_path / "tree", "amd64") == []
    assert foreign(unpack_initrd(guest / "initrd.img", tmp_path / "initrd"), "amd64") == []


def test_the_guests_disk_has_no_identity(target: Target, tmp_path: Path) -> None:
    """All nodes share it."""
    raw = tmp_path / "disk.raw"
    run(["qemu-img", "convert", "-O", "raw", target.tree / "usr/share/pimu/guest/base.qcow2", raw])
    unpack_ext4(raw, 0, tmp_path / "tree")
    etc = tmp_path / "tree/etc"
    assert not (etc / "machine-id").exists() or (etc / "machine-id").read_bytes() in (b"", b"uninitialized\n")
    assert not list(etc.glob("ssh/ssh_host_*"))
    assert not (tmp_path / "tree/var/lib/systemd/random-seed").exists()
    assert not list((tmp_path / "tree/home").iterdir())
    names = (path.read_text() for path in (etc / "hostname", etc / "hosts") if path.exists())
    assert not [text for text in names if "003" in text]
    assert {line.split(":")[1] for line in (etc / "shadow").read_text().splitlines()} <= {"*", "!", "!*"}


def test_libvirt_starts_nothing_by_itself(target: Target) -> None:
    system = target.tree / "etc/systemd/system"
    for unit in ("libvirtd-tcp.socket", "libvirtd-tls.socket", "libvirt-guests.service"):
        assert (system / unit).readlink() == Path("/dev/null")
    assert (target.tree / "etc/libvirt/qemu/networks/default.xml").is_file()
    assert not list((target.tree / "etc/libvirt/qemu/networks/autostart").glob("*"))
    for unit in ("libvirtd.service", "virtlogd.service"):
        assert not list(system.glob(f"*.wants/{unit}"))


def test_administrators_may_plug_virtual_machines_into_the_bridge(
    target: Target, built: Built, manifest: Manifest
) -> None:
    """qemu-bridge-helper is setuid for group sudo, in which the account is, and stays so when QEMU is updated."""
    helper = "/usr/lib/qemu/qemu-bridge-helper"
    volume = f"{built.image}?offset={manifest.layout.root_start}"
    stat = run(["debugfs", "-R", f"stat {helper}", volume]).text
    assert re.search(r"Mode: +04750 ", stat)
    assert re.search(r"User: +0 +Group: +27 ", stat)
    asked = target.run(f"id -Gn pimu; getent group sudo; dpkg-statoverride --list {helper}; cat /etc/qemu/bridge.conf")
    groups, sudo, override, allowed = asked.output.splitlines()
    assert "sudo" in groups.split()
    assert sudo.startswith("sudo:x:27:")
    assert (override, allowed) == (f"root sudo 4750 {helper}", "allow br0")


def foreign(folder: Path, architecture: str) -> list[str]:
    programs = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                machine = machine_of(file.read(20))
            if machine is not None:
                programs[str(path.relative_to(folder))] = machine
    own = MACHINES[architecture]
    return sorted(path for path, machine in programs.items() if machine != own and not FOR_OTHERS.match(path))


def test_systemd_would_enable_and_disable_nothing_more(target: Target) -> None:
    """Presets are applied when systemd takes a boot for the first one."""
    quiet = target.run("systemctl preset-all")
    assert (quiet.status, sorted(quiet.written)) == (0, []), quiet.output
    heard = target.run("systemctl disable ssh.service && systemctl preset-all")
    assert heard.status == 0
    assert any(path.endswith("/ssh.service") for path in heard.written)


def test_systemd_accepts_every_unit_of_ours(target: Target, built: Built) -> None:
    units = [edit.path for edit in built.plan.edits if isinstance(edit, WriteFile) and "/systemd/system/" in edit.path]
    names = sorted({re.sub(r"\.d/.*", "", path.partition("/systemd/system/")[2]) for path in units})
    assert {"pimu-grow.service", "pimu-guest.service", "fstrim.timer"} <= set(names)
    verify = "systemd-analyze verify --man=no --recursive-errors=no"

    checked = target.run(f"{verify} {' '.join(names)}")

    assert (checked.status, checked.output) == (0, "")
    broken = "sed -i s/ExecStart=/ExecStrat=/ /usr/lib/systemd/system/pimu-grow.service"
    assert "pimu-grow.service" in target.run(f"{broken}; {verify} pimu-grow.service").output


def test_sshd_accepts_its_settings_and_lets_in_keys_only(target: Target) -> None:
    asked = target.run(
        "mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && sshd -t && sshd -T"
    )
    assert asked.status == 0, asked.output
    effective = asked.output.splitlines()
    for line in ("passwordauthentication no", "kbdinteractiveauthentication no", "pubkeyauthentication yes"):
        assert line in effective


def test_sudo_accepts_its_rules(target: Target) -> None:
    asked = target.run("visudo -c && sudo -l -U pimu")
    assert asked.status == 0, asked.output
    assert asked.output.splitlines()[-1].split() == ["(ALL", ":", "ALL)", "NOPASSWD:", "ALL"]


def test_networkmanager_reads_its_connections(target: Target, built: Built) -> None:
    folder = "etc/NetworkManager/system-connections"
    files = sorted((target.tree / folder).iterdir())
    assert [path.name for path in files] == ["br0-port.nmconnection", "br0.nmconnection"]
    assert {path.stat().st_mode & 0o7777 for path in files} == {0o600}

    asked = target.run(
        f"NetworkManager --print-config >/dev/null && cd /{folder} &&"
        " for file in *; do nmcli --offline connection modify connection.zone '' <$file || exit; done"
    )

    assert asked.status == 0, asked.output
    words = asked.output.lower().splitlines()
    assert {"type=bridge", "controller=br0", f"cloned-mac-address={built.plan.identity.bridge_mac}"} <= set(words)


@pytest.mark.parametrize("setting", ["mac: derived", "mac: inherit"])
def test_the_pis_programs_read_what_this_node_does_not_use(target: Target, project_folder: Path, setting: str) -> None:
    """A static address, br0 with eth0's MAC, an enclosure that trims."""
    node = f"""\
bridge: {{{setting}, ipv4: {{address: 192.168.7.3/24, gateway: 192.168.7.1, dns: [192.168.7.1]}}}}
trim: {{enclosures: ["152d:0578"]}}
"""
    plan = plan_of(project_folder, node=node)
    written = {edit.path: edit.content.decode() for edit in plan.edits if isinstance(edit, WriteFile)}
    rules = {path: text for path, text in written.items() if path.endswith(".rules")}
    connections = {path: text for path, text in written.items() if path.endswith(".nmconnection")}
    assert rules
    assert connections
    here = "".join(f"cat >{path} <<'END'\n{text}END\n" for path, text in (rules | connections).items())
    offline = "".join(f"nmcli --offline connection modify connection.zone '' <{path}\n" for path in connections)

    asked = target.run(f"set -e\n{here}udevadm verify {' '.join(rules)}\n{offline}")

    assert asked.status == 0, asked.output
    assert "address1=192.168.7.3/24" in asked.output


def test_dpkg_finds_its_packages_whole(target: Target, built: Built) -> None:
    asked = target.run(f"dpkg --audit && dpkg-query -W -f '${{db:Status-Abbrev}}\\n' {' '.join(built.plan.packages)}")
    assert asked.status == 0, asked.output
    assert {line.strip() for line in asked.output.splitlines()} == {"ii"}
