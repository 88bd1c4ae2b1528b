"""Disks that must not be overwritten, and a few that may be: tests/disks/ has each as lsblk tells it, with what the
kernel adds. A reason that is missing, or one too many, is a failure.

    target     the device, by its path, or by its number when lsblk does not list it
    refused    by kind of reason a phrase of its text; empty when the disk may be written to
    wanted     what differs from the image of node-003 of cluster pimu
    content    what the disk's own bytes say, where lsblk's word is not enough
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from builder.errors import BuildError
from builder.flash import guard, parse
from builder.flash.guard import Wanted
from builder.model.disks import BlockDevice, Content, Kind, Mount, Protected, Reason, Record, Survey, Sysfs, Target

CASES = sorted(Path(__file__).parents[1].joinpath("disks").glob("*.json"))
IMAGE_SIZE = 8 * 1000**3


def survey_of(case: dict[str, Any]) -> Survey:
    facts = {number: Sysfs(**_tuples(fact)) for number, fact in case.get("sysfs", {}).items()}
    disks = parse.lsblk(json.dumps(case["lsblk"]), lambda number: facts.get(number, Sysfs()))
    mounts = tuple(Mount(**_tuples(mount)) for mount in case["mounts"])
    return Survey(disks, mounts, case["swaps"], case.get("writers", {}))


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def content_of(case: dict[str, Any], device: BlockDevice) -> Content:
    if "content" not in case:
        return Content(blank=not (device.table or device.filesystem or device.children))
    fields = _tuples(case["content"])
    record = fields.pop("record", None)
    return Content(**fields, record=Record(**record) if record else None)


def reasons_of(case: dict[str, Any]) -> list[Reason]:
    survey = survey_of(case)
    wanted = Wanted(**{"size": IMAGE_SIZE, "node": "node-003", "cluster": "pimu", **case.get("wanted", {})})
    name = case["target"]
    devices = [device for disk in survey.disks for device in disk.tree() if device.path == name]
    if devices:
        target = Target(name, "block", devices[0].number)
    elif re.fullmatch(r"\d+:\d+", name):
        target = Target("/dev/unlisted", "block", name)
    else:
        target = Target(name, "absent" if name.startswith("/dev/") else "other")
    protected = [Protected(**_tuples(thing)) for thing in case.get("protected", ())]
    if reasons := guard.refusals(survey, target, wanted, protected):
        return reasons  # it is not opened, and nobody knows what is on it
    content = content_of(case, devices[0])
    return [*guard.member_refusals(content), *guard.content_refusals(devices[0], content, wanted)]


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_a_wrong_disk_is_refused_for_the_right_reasons(file: Path) -> None:
    case = json.loads(file.read_text())
    reasons = reasons_of(case)
    told = "\n".join(f"{reason.kind}: {reason.text}" for reason in reasons)
    assert {reason.kind for reason in reasons} == case["refused"].keys(), told
    for kind, phrase in case["refused"].items():
        assert any(reason.kind == kind and phrase in reason.text for reason in reasons), told
    assert all(text.isprintable() for text in (reason.text for reason in reasons))


def test_the_corpus_is_large_and_says_what_each_disk_is() -> None:
    cases = [json.loads(file.read_text()) for file in CASES]
    assert sum(bool(case["refused"]) for case in cases) >= 70
    assert all(case["about"] for case in cases)
    assert {kind for case in cases for kind in case["refused"]} == set(get_args(Kind))


@pytest.mark.parametrize("kind", ["system", "mounted", "held", "swap", "member", "carries", "read-only", "too-small"])
def test_nothing_that_can_be_said_allows_what_would_hurt_this_machine(kind: str) -> None:
    everything = {"overwrite_existing": True, "max_size": 10**15}
    hurt = [case for case in map(json.loads, (file.read_text() for file in CASES)) if kind in case["refused"]]
    assert hurt
    for case in hurt:
        case["wanted"] = {**case.get("wanted", {}), **everything}
        assert kind in {reason.kind for reason in reasons_of(case)}, case["about"]


ROW: dict[str, Any] = dict.fromkeys(("serial", "tran", "pttype", "fstype", "uuid"))
ROW |= {"name": "/dev/sdb", "maj:min": "8:16", "type": "disk", "size": 1, "ro": False, "rm": False, "mountpoints": []}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lsblk: failed to access sysfs directory",
        "[]",
        "{}",
        '{"blockdevices": null}',
        '{"blockdevices": [null]}',
        *(json.dumps({"blockdevices": [{key: ROW[key] for key in ROW if key != missing}]}) for missing in ROW),
        json.dumps({"blockdevices": [ROW | {"maj:min": "sdb"}]}),
        json.dumps({"blockdevices": [ROW | {"size": "1G"}]}),
        json.dumps({"blockdevices": [ROW | {"ro": "perhaps"}]}),
        json.dumps({"blockdevices": [ROW | {"type": None}]}),
        json.dumps({"blockdevices": [ROW | {"children": [ROW | {"name": None}]}]}),
    ],
)
def test_what_lsblk_says_is_understood_or_an_error(text: str) -> None:
    with pytest.raises(BuildError, match="no disk is known to be safe"):
        parse.lsblk(text, lambda _: Sysfs())


def test_a_tower_of_devices_is_an_error() -> None:
    row: dict[str, Any] = ROW
    for _ in range(50):
        row = ROW | {"children": [row]}
    with pytest.raises(BuildError, match="deep"):
        parse.lsblk(json.dumps({"blockdevices": [row]}), lambda _: Sysfs())


def test_mounts_are_read_as_the_kernel_writes_them() -> None:
    text = (
        "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "40 27 0:44 /@home /home rw - btrfs /dev/sda2 rw,subvol=/@home\n"
        "41 27 8:17 / /media/anna/A\\040B rw,nosuid master:2 propagate_from:1 - vfat /dev/sdb1 rw\n"
    )
    found = list(parse.mountinfo(text))
    assert [(line.id, line.number, line.target, line.filesystem, line.source) for line in found] == [
        (27, "254:0", "/", "ext4", "/dev/vda"),
        (40, "0:44", "/home", "btrfs", "/dev/sda2"),
        (41, "8:17", "/media/anna/A B", "vfat", "/dev/sdb1"),
    ]
    with pytest.raises(BuildError, match="not understood"):
        list(parse.mountinfo("27 1 254:0 / /\n"))


def test_swap_is_devices_and_files() -> None:
    text = "Filename\t\tType\t\tSize\tUsed\tPriority\n/dev/sda3 partition 1 0 -2\n/my\\040swap file 1 0 -3\n"
    assert parse.swaps(text) == ("/dev/sda3", "/my swap")
