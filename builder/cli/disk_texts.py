"""Disks as text for people and as plain data for JSON. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from builder.cli.texts import size
from builder.flash import Listed, Shown, Written
from builder.flash.flashed import Flashed
from builder.model.disks import BlockDevice
from builder.model.manifest import Manifest
from builder.text import one_line

FLASHING = """\b
Examples:
  pimu-build list-disks                              which one is the SSD?
  sudo pimu-build flash output/node-003.img /dev/sdX
  sudo pimu-build flash output/node-003.img /dev/disk/by-id/usb-... --expect-serial S5SXNS0R
  sudo pimu-build flash output/node-003.img /dev/sdX --overwrite-existing    a used SSD
  sudo pimu-build flash node-003 /dev/sdX            built straight onto the disk
  sudo pimu-build flash node-003.img.xz /dev/sdX --set secrets.yaml          an image without secrets
  sudo pimu-build flash node-003.img.xz /dev/sdX --signer publisher.pub      refused unless this key signed the set

\b
FILE of --set names each secret by its kind, or as the profile does, which tells apart two of a kind:
  k3s-token: K10...::node:...
  node-password: ...              the node's own, 16 or more characters; or node-passwords: the cluster's secret for all
  password-hash: $6$...

\b
A disk without a serial number is known by its WWN, or by its size in bytes.
Until the last moment the disk does not boot: interrupted, it is to be flashed again.
"""

_DISK = "{:<14}{:>9}  {:<28}{:<24}{}"


def decimal(count: int) -> str:
    """A size in powers of 1000, as on the label of a disk."""
    return f"{count / 1000**4:.1f} TB" if count >= 1000**4 else f"{count / 1000**3:.1f} GB"


def disks_lines(disks: Iterable[Listed]) -> Iterator[str]:
    for number, disk in enumerate(disks):
        if number == 0:
            yield _DISK.format("DISK", "SIZE", "MODEL", "SERIAL", "BUS").rstrip()
        device = disk.device
        row = (device.path, decimal(device.size), device.name or "-", device.serial or "-", device.transport or "-")
        yield _DISK.format(*row)
        for reason in disk.reasons:
            yield f"  no: it {reason.text}"
        if disk.reasons:
            continue
        yield f"  could be, with --overwrite-existing: it holds {disk.holds}" if disk.holds else "  could be flashed"


def disks_data(disks: Iterable[Listed]) -> list[dict[str, Any]]:
    return [
        {
            **_device_data(disk.device),
            "removable": disk.device.removable,
            "read_only": disk.device.read_only,
            "holds": disk.holds or None,
            "refused": [{"kind": reason.kind, "text": f"it {reason.text}"} for reason in disk.reasons],
        }
        for disk in disks
    ]


def slots_lines(manifest: Manifest) -> Iterator[str]:
    """A line for each secret that an image lacks, with its place on the disk."""
    for pending in manifest.pending:
        for secret in pending.secrets():
            derived = f", as {secret.purpose}" if secret.purpose else ""
            yield f"  asks for  {secret.kind} {secret.reference!r}{derived}, and puts it into {pending.target}"


def shown_text(shown: Shown, node: str) -> str:
    device, identity = shown.device, shown.device.identity
    rows = (
        ("disk", device.path),
        ("model", device.name or "unknown"),
        ("serial", device.serial or f"none; its {identity.password_name} stands for it: {identity.password}"),
        ("size", f"{decimal(device.size)} ({device.size} bytes)"),
        ("bus", device.transport or "unknown"),
        ("holds", shown.holds or "nothing"),
        *([("signed", shown.signed)] if shown.signed else []),
        ("becomes", f"the disk of {node}; what it holds now is lost"),
        *(("beware", _second(one, node)) for one in shown.others),
    )
    return "\n".join(f"  {name:<10}{one_line(value)}" for name, value in rows)


def _second(other: Flashed, node: str) -> str:
    disk = f"{other.model or 'a disk'} ({other.serial}, {decimal(other.size)})"
    return f"{node} is also on {disk}, flashed {other.date}: two Pis of one name disturb each other"


def written_text(device: Path, node: str, written: Written) -> str:
    rate = written.data / max(written.writing, 1e-3)
    return (
        f"{device}  is the disk of {node}: {size(written.data)} written in {written.writing:.1f} s "
        f"({size(rate)}/s), read back in {written.verifying:.1f} s"
    )


def written_data(what: str, device: Path, node: str, written: Written) -> dict[str, Any]:
    return {
        "node": node,
        "image": what,
        "device": str(device),
        "bytes_written": written.data,
        "bytes_zeroed": written.zeros,
        "seconds_writing": round(written.writing, 3),
        "seconds_verifying": round(written.verifying, 3),
    }


def _device_data(device: BlockDevice) -> dict[str, Any]:
    return {
        "path": device.path,
        "by_id": list(device.sysfs.by_id),
        "model": device.name or None,
        "serial": device.serial or None,
        "wwn": device.wwn or None,
        "size": device.size,
        "transport": device.transport or None,
        "expect_serial": device.identity.password,
    }
