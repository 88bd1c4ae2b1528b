"""Memory and disk are reckoned before anything is built, as far as the profiles say what the Pi and the SSD are."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.features.keys import keys_of
from builder.features.overclock.settings import OverclockKeys
from builder.features.swap.settings import SwapKeys
from builder.limits import GIB
from builder.plan import make_plan
from builder.project import Project
from builder.template.strict import render
from tests.planned import plan_of


def notes(folder: Path, node: str) -> list[str]:
    return [note.text for note in plan_of(folder, node=node).notes if note.feature == "room"]


@pytest.mark.parametrize(
    ("node", "most"),
    [
        ("machine: {memory: 60GiB}\nswap: null\n", "6 GiB of a pi4-8g with no swap"),
        ("machine: {memory: 60GiB}\nswap: {size: 32GiB}\n", "38 GiB of a pi4-8g with 32 GiB of swap"),
        ("machine: {memory: 60GiB}\nssd: 64GB\n", r"\d\d[.]\d GiB of a pi4-8g with \d\d[.]\d GiB of swap"),
        ("machine: {memory: 2GiB}\nswap: null\npi: pi4-2g\n", "1.25 GiB of a pi4-2g with no swap"),
    ],
)
def test_more_memory_than_there_is_is_refused(node: str, most: str, project_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"for the guest are more than the {most}") as caught:
        plan_of(project_folder, node=node)
    assert caught.value.where == "profiles/nodes/node-003.yaml:1"
    assert caught.value.hint.startswith("say memory: auto, or give it swap of ")


@pytest.mark.parametrize(
    "node", ["machine: {memory: 6GiB}\nswap: null\n", "machine: {memory: auto}\nswap: null\npi: pi4-1g\n", "pi: null\n"]
)
def test_what_fits_or_is_left_to_the_pi_is_no_news(node: str, project_folder: Path) -> None:
    assert notes(project_folder, node) == []


def test_a_pi_of_which_nothing_is_known_is_not_reckoned_with(project_folder: Path) -> None:
    assert notes(project_folder, "pi: null\nmachine: {memory: 900GiB}\n") == []


def test_memory_that_is_swap_is_said_with_what_it_costs(project_folder: Path) -> None:
    (note,) = notes(project_folder, "machine: {memory: 60GiB}\n")
    assert "has 60 GiB, and the pi4-8g has 6 GiB for it: the rest is swap on the SSD" in note
    assert "writes 960 MiB of page descriptions" in note


def test_the_guests_disk_is_reckoned_against_what_the_ssd_has_left(project_folder: Path) -> None:
    (note,) = notes(project_folder, "ssd: 128GB\n")
    assert "may grow to 128 GiB" in note
    left = float(note.partition("the SSD has ")[2].partition(" GiB")[0])
    assert left == pytest.approx((128e9 / GIB - 0.5 - 3 - 64), abs=0.5)
    assert notes(project_folder, "ssd: 500GB\n") == []


def test_an_ssd_without_room_for_a_guest_is_refused(project_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no room for the system, 25 GiB of swap and 4 GiB of a guest"):
        plan_of(project_folder, node="ssd: 32GB\nswap: {size: 25GiB, reserve: 1GiB}\n")


def test_a_preset_wins_over_the_role_and_the_node_over_it(project_folder: Path) -> None:
    project = Project(project_folder)
    chosen = project.settings("node-003", "worker", preset="seed-2021").settings
    assert chosen.machine is not None
    assert (chosen.machine.memory, chosen.machine.cpus) == (60 * GIB, 3)
    swap, overclock = keys_of(chosen, SwapKeys).swap, keys_of(chosen, OverclockKeys).overclock
    assert swap is not None
    assert overclock is not None
    assert (swap.size, overclock.arm_freq) == (64 * GIB, 2000)
    (project_folder / "profiles/nodes/node-003.yaml").write_text("machine: {memory: 5GiB}\n")
    own = Project(project_folder).settings("node-003", "worker", preset="seed-2021").settings
    assert own.machine is not None
    assert own.machine.memory == 5 * GIB


def test_the_preset_of_2021_can_be_built_on_a_pi_of_8_gib_and_says_what_it_does(project_folder: Path) -> None:
    project = Project(project_folder)
    resolved = project.settings("node-003", "worker", preset="seed-2021")
    plan = make_plan(resolved, project.overlays, project.seed, project.answers, render=render)
    assert plan.guest is not None
    assert plan.guest.disk == 128 * GIB
    assert [note for note in plan.notes if "60 GiB" in note.text]
