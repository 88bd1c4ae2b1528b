"""A user's own lines of config.txt and words of the kernel: on every base, under their filter, and after an update."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from builder.boot.firmware import chosen
from builder.errors import ConfigurationError
from builder.features import NODE_SETTINGS
from builder.features.boot.checks import checks
from builder.features.firmware import ConfigLines, FirmwareText, KernelCommand, firmware_edits, sections
from builder.model.edits import WriteFile
from builder.model.patches import KernelWords, NamedBlock
from builder.model.plan import Plan
from tests.boot.test_boot import SYSTEM, WANT
from tests.planned import BASES, DEBIAN, Pi, pi_of, plan_of

ROOT = Path(__file__).parents[2]
CUSTOM, EXTRA = "/etc/default/raspi-firmware-custom", "/etc/default/raspi-extra-cmdline"
OWN = """
boot:
  config:
    all: [dtoverlay=disable-wifi, "dtoverlay=gpio-fan,temp=60000"]
    pi4: [gpu_mem=16]
    EDID=VSC-TD2220: [hdmi_group=2]
  kernel_words: [pcie_aspm=off, usbcore.autosuspend=-1]
  usb_quirks: {"152d:0578": u, "174c:55aa": uw}
"""
WORDS = ("pcie_aspm=off", "usbcore.autosuspend=-1", "usb-storage.quirks=152d:0578:u,174c:55aa:uw")


def holding(text: str) -> dict[str, set[str]]:
    """Each line of a config.txt with the filters that it needs: those of one kind replace each other, others add up."""
    found: dict[str, set[str]] = {}
    filters: dict[str, str] = {}
    for line in text.splitlines():
        if line == "[all]":
            filters = {}
        elif line.startswith("["):
            filters[re.split("[=0-9]", line)[0]] = line
        elif line and not line.startswith("#"):
            found.setdefault(line, set()).update(filters.values())
    return found


def after_an_update(pi: Pi) -> tuple[str, str]:
    """config.txt and cmdline.txt as raspi-firmware's hook writes them: its own text, then that of both files."""
    config = f"arm_64bit=1\n\n# Inserted by {CUSTOM}\n{pi.text(CUSTOM)}"
    return config, f"console=tty0 root=/dev/sda2 rw rootwait {pi.text(EXTRA)}"


@pytest.mark.parametrize("base", BASES)
def test_own_lines_count_under_their_filter_and_for_nothing_else(base: str, project_folder: Path) -> None:
    lines = holding(pi_of(plan_of(project_folder, base=base, node=OWN)).text("/config.txt", "boot"))

    assert lines["dtoverlay=disable-wifi"] == lines["dtoverlay=gpio-fan,temp=60000"] == set()
    assert lines["gpu_mem=16"] == lines["arm_freq=2000"] == {"[pi4]"}
    assert lines["hdmi_group=2"] == {"[EDID=VSC-TD2220]"}


@pytest.mark.parametrize("base", BASES)
def test_own_words_and_quirks_are_the_kernels_and_root_stays(base: str, project_folder: Path) -> None:
    plan = plan_of(project_folder, base=base, node=OWN)
    words = pi_of(plan).text("/cmdline.txt", "boot").split()

    assert words[-len(WORDS) :] == list(WORDS)
    assert [word for word in words if word.startswith("root=")] == [f"root=PARTUUID={plan.identity.partuuid}-02"]


def test_a_kernel_update_on_debian_keeps_every_line_and_word(project_folder: Path) -> None:
    plan = plan_of(project_folder, node=OWN)
    pi = pi_of(plan)
    config, cmdline = after_an_update(pi)

    written = holding(pi.text("/config.txt", "boot"))
    kept = holding(config)
    own = ("dtoverlay=disable-wifi", "gpu_mem=16", "hdmi_group=2", "arm_freq=2000", "over_voltage=6")
    assert {line: kept[line] for line in own} == {line: written[line] for line in own}
    assert cmdline.split()[-len(WORDS) :] == list(WORDS)
    assert [word for word in cmdline.split() if word.startswith("root=")][-1] == (
        f"root=PARTUUID={plan.identity.partuuid}-02"
    )


@pytest.mark.parametrize("base", [base for base in BASES if base != DEBIAN])
def test_a_base_whose_texts_are_written_once_has_no_file_for_an_update(base: str, project_folder: Path) -> None:
    pi = pi_of(plan_of(project_folder, base=base, node=OWN))
    assert (pi.entry(CUSTOM), pi.entry(EXTRA)) == (None, None)


def test_own_lines_without_an_overclock_make_the_file_themselves(project_folder: Path) -> None:
    plan = plan_of(project_folder, node=f"overclock: null\n{OWN}")
    pi = pi_of(plan)

    assert "gpu_mem=16\n" in pi.text(CUSTOM)
    assert "arm_freq" not in pi.text(CUSTOM) + pi.text("/config.txt", "boot")


@pytest.mark.parametrize("base", BASES)
def test_own_lines_applied_twice_are_those_applied_once(base: str, project_folder: Path) -> None:
    plan = plan_of(project_folder, base=base, node=OWN)
    once, twice = pi_of(plan), pi_of(plan, times=2)
    for path in ("/config.txt", "/cmdline.txt"):
        assert once.text(path, "boot") == twice.text(path, "boot")


def test_own_lines_are_stamped_and_make_no_golden_image_anew(project_folder: Path) -> None:
    bare = plan_of(project_folder, node="")
    assert plan_of(project_folder, node=OWN).golden_edits() == bare.golden_edits()


def test_a_node_without_own_lines_has_the_plan_that_it_had(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder)
    assert not [edit for edit in plan.edits if edit.feature == "boot"]
    assert "boot" not in plan.settings.model_dump(mode="json")
    assert "watchdog" not in plan.settings.model_dump(mode="json")


def test_a_role_s_own_config_txt_is_refused_and_so_is_a_base_s(project_folder: Path) -> None:
    """Either would undo what a feature says, and Debian's would be gone at the first kernel update."""
    for folder, path in (("roles/worker", "boot/config.txt"), (f"bases/{DEBIAN}", f"root{CUSTOM}")):
        file = project_folder / "overlays" / folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("dtoverlay=disable-wifi\n")
        with pytest.raises(ConfigurationError, match="is wanted in two ways"):
            plan_of(project_folder)
        file.unlink()


@pytest.mark.parametrize(
    ("last", "open_filter"),
    [
        ("[EDID=VSC-TD2220]\n", "[EDID=VSC-TD2220]"),
        ("[gpio4=1]", "[gpio4=1]"),
        ("[0x1234abcd]\n", "[0x1234abcd]"),
        ("[board-type=0x11]\r\n", "[board-type=0x11]"),
    ],
)
@pytest.mark.parametrize(
    "lines", [tuple(sections({"pi4": ["arm_freq=1800"]})), ("[pi4]", "arm_freq=1800"), ("gpu_mem=16",)]
)
def test_a_filter_that_is_open_above_does_not_hold_for_a_block(
    last: str, open_filter: str, lines: tuple[str, ...], project_folder: Path
) -> None:
    """Filters of different kinds add up, so a block below [EDID=...] would count with that monitor only."""
    text = ConfigLines(feature="own", origin="x", scope="golden", lines=lines)
    (edit,) = firmware_edits([text], plan_of(project_folder, base="raspios-trixie").base)
    after = edit.patch.apply(f"a=1\n{last}")  # type: ignore[attr-defined]
    found = holding(f"{after}b=1\n")

    assert open_filter in after
    assert found[lines[-1] if "=" in lines[-1] else "arm_freq=1800"] <= {"[pi4]"}
    assert found["b=1"] == set()


def test_features_hand_over_lines_in_their_order_and_each_has_its_block(shipped_folder: Path) -> None:
    """A second feature adds to the file that the first one makes, whatever the scopes are."""
    base = plan_of(shipped_folder).base
    texts: list[FirmwareText] = [
        ConfigLines(feature="fan", origin="a", scope="node", lines=("gpio=4=op",)),
        ConfigLines(feature="camera", origin="b", scope="golden", lines=("start_x=1",)),
        KernelCommand(feature="fan", origin="a", scope="golden", words=KernelWords(add=("fan=1",)), when="always"),
        KernelCommand(feature="fan", origin="a", scope="node", words=KernelWords(add=("now=1",)), when="image"),
        KernelCommand(feature="camera", origin="b", scope="node", words=KernelWords(add=("cam=1",)), when="update"),
    ]
    edits = list(firmware_edits(texts, base))

    shown = [(edit.path, edit.feature, edit.scope, edit.kind) for edit in edits]
    assert shown == [
        ("/config.txt", "camera", "golden", "PatchText"),
        ("/config.txt", "fan", "node", "PatchText"),
        ("/cmdline.txt", "fan", "golden", "PatchText"),
        ("/cmdline.txt", "fan", "node", "PatchText"),
        (CUSTOM, "camera", "golden", "WriteFile"),
        (CUSTOM, "fan", "node", "PatchText"),
        (EXTRA, "fan", "node", "WriteFile"),
        (EXTRA, "camera", "node", "PatchText"),
    ]
    first = edits[4]
    assert isinstance(first, WriteFile)
    assert first.content == b"[all]\nstart_x=1\n"


@pytest.mark.parametrize(
    ("lines", "clash"),
    [
        (("[all]", "arm_freq=1500"), True),
        (("[pi4]", "arm_freq=1500"), True),
        (("[pi400]", "arm_freq=1500"), False),
        (("dtoverlay=other",), False),
        (("# arm_freq=1500",), False),
    ],
)
def test_one_setting_from_two_features_is_refused(lines: tuple[str, ...], clash: bool, shipped_folder: Path) -> None:
    base = plan_of(shipped_folder).base
    first = ConfigLines(
        feature="overclock", origin="a", scope="golden", lines=("[pi4]", "arm_freq=2000", "dtoverlay=x")
    )
    second = replace(first, feature="own", origin="b", lines=lines)
    if clash:
        with pytest.raises(
            ConfigurationError, match=r"arm_freq of config.txt is wanted by two features: overclock and own"
        ):
            list(firmware_edits([first, second], base))
    else:
        assert list(firmware_edits([first, second], base))


def test_the_emulated_pi_loads_the_kernel_that_own_lines_name(project_folder: Path) -> None:
    node = "boot: {config: {pi4: [kernel=own.img], cm4: [kernel=other.img]}}\n"
    text = pi_of(plan_of(project_folder, node=node)).text("/config.txt", "boot")
    assert chosen(text)[0] == "own.img"


def test_the_boot_check_misses_a_word_that_the_kernel_was_not_given(project_folder: Path) -> None:
    want = replace(WANT, settings=plan_of(project_folder, node=OWN).settings)
    facts = {**SYSTEM, "kernel-words": f"rootwait {' '.join(WORDS)}"}

    assert [result.passed for result in checks(facts, want)] == [True]
    assert [result.passed for result in checks({**facts, "kernel-words": " ".join(WORDS[:2])}, want)] == [False]
    assert not list(checks(facts, WANT))


def test_one_module_alone_writes_the_boot_texts() -> None:
    """Two writers of one file know nothing of each other: only the owner may name these files."""
    named = re.compile(r'"/(config|cmdline)\.txt"|raspi-(firmware-custom|extra-cmdline)')
    writers = {path.name for path in (ROOT / "builder/features").rglob("*.py") if named.search(path.read_text())}
    assert writers == {"firmware.py"}
    overlays = {path.name for path in (ROOT / "overlays/features").rglob("*") if path.is_file()}
    assert not overlays & {"raspi-firmware", "raspi-firmware-custom", "raspi-extra-cmdline", "cmdline.txt"}


@pytest.mark.parametrize(
    ("boot", "fault"),
    [
        ("{config: {p4: [a=1]}}", "is no filter of config.txt"),
        ('{config: {all: ["[pi4]"]}}', "is a filter; make it a key"),
        ('{config: {all: ["a=1\\nb=1"]}}', "is not one line of printable ASCII"),
        (f"{{config: {{all: [a={'1' * 97}]}}}}", "has 99 characters, and the firmware reads 98"),
        ("{kernel_words: [root=/dev/sda2]}", "names the node's own disk"),
        ("{kernel_words: ['usb-storage.quirks=152d:0578:u']}", "say it by enclosure in boot.usb_quirks"),
        ("{kernel_words: [a b]}", "is not one word"),
        ("{usb_quirks: {'152d:0578': i}}", "are not letters such as u"),
        ("{usb_quirks: {jmicron: u}}", "does not look like"),
        ("{usb_quirks: {" + ", ".join(f"'152d:{n:04x}': u" for n in range(11)) + "}}", "more than the 127 characters"),
    ],
)
def test_what_the_firmware_or_the_kernel_would_not_read_is_refused(boot: str, fault: str, project_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(fault)) as refused:
        plan_of(project_folder, node=f"boot: {boot}\n")
    assert "profiles/nodes/node-003.yaml:1" in str(refused.value)


def test_own_words_in_an_overlay_that_is_read_no_longer_are_not_lost_in_silence(project_folder: Path) -> None:
    file = project_folder / f"overlays/features/layout-raspi-firmware/root{EXTRA}.j2"
    file.parent.mkdir(parents=True)
    file.write_text("root=PARTUUID={{ identity.partuuid }}-02\n")
    before = plan_of(project_folder)
    assert before.edits

    file.write_text("root=PARTUUID={{ identity.partuuid }}-02 pcie_aspm=off\n")
    with pytest.raises(ConfigurationError, match="is read no longer, and has words of its own") as refused:
        plan_of(project_folder)
    assert "kernel_words: [WORD]" in str(refused.value)


def test_a_manifest_of_before_has_no_such_keys_and_is_read(shipped_folder: Path) -> None:
    plan: Plan = plan_of(shipped_folder)
    read = NODE_SETTINGS.model_validate(plan.settings.model_dump(mode="json"))
    assert read == plan.settings


def test_another_block_of_one_feature_replaces_the_first(project_folder: Path) -> None:
    text = pi_of(plan_of(project_folder, node=OWN)).text("/config.txt", "boot")
    again = NamedBlock("boot", ("[all]", "gpu_mem=32")).apply(text)
    assert ("gpu_mem=16" in again, again.count("# BEGIN pimu boot")) == (False, 1)
