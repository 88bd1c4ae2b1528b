"""The plan as a whole: its order, what it refuses, and how it is shown."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.model.edits import Edit, MakeDir, PatchText, Remove, Scope, SetMode, Symlink, Volume, WriteFile
from builder.model.patches import Line
from builder.model.pending import PendingSeed
from builder.plan import to_json, to_lines
from builder.plan.order import in_order
from builder.plan.secret_free import without_secrets
from builder.project import Project
from builder.secrets.resolve import secrets_of
from tests.planned import BASES, ROLES, plan_of


def write(
    path: str, *, volume: Volume = "root", feature: str = "one", content: bytes = b"", node: bool = False
) -> WriteFile:
    scope: Scope = "node" if node else "golden"
    return WriteFile(
        volume=volume, path=path, scope=scope, feature=feature, origin=f"{feature}.yaml:1", content=content
    )


def like(edit: Edit, kind: type[Edit], **fields: object) -> Edit:
    return kind(
        volume=edit.volume,
        path=edit.path,
        scope=edit.scope,
        feature="two",
        origin="two.yaml:2",
        **fields,
    )


def ordered(shipped_folder: Path, *edits: Edit) -> tuple[Edit, ...]:
    return in_order(edits, Project(shipped_folder).settings("node-003", "worker").base)


def test_golden_first_then_by_path_then_as_asked(shipped_folder: Path) -> None:
    node, late, early = write("/a", node=True), write("/z"), write("/b")
    first = like(late, PatchText, patch=Line("1"))
    second = like(late, PatchText, patch=Line("2"))

    assert ordered(shipped_folder, node, late, first, second, early) == (early, late, first, second, node)


def test_two_ways_for_one_path_name_both_who_asked(shipped_folder: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ordered(shipped_folder, write("/a", content=b"1"), write("/a", feature="two", content=b"2"))

    assert str(caught.value) == (
        "two.yaml:1: root:/a is wanted in two ways\n"
        "  one (one.yaml:1): write root:/a 0644 0:0 1 bytes\n"
        "  two (two.yaml:1): write root:/a 0644 0:0 1 bytes"
    )


@pytest.mark.parametrize("second", [Remove, MakeDir])
def test_different_kinds_for_one_path_are_refused(second: type[Edit], shipped_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="wanted in two ways"):
        ordered(shipped_folder, write("/a"), like(write("/a"), second))


def test_writing_over_what_was_patched_is_refused(shipped_folder: Path) -> None:
    patch = like(write("/a"), PatchText, patch=Line("1"))
    with pytest.raises(ConfigurationError, match="wanted in two ways"):
        ordered(shipped_folder, patch, write("/a", node=True))


def test_the_same_wish_twice_is_one(shipped_folder: Path) -> None:
    first = write("/a")
    assert ordered(shipped_folder, first, write("/a", feature="two")) == (first,)


def test_a_mode_may_follow(shipped_folder: Path) -> None:
    first = write("/a")
    mode = like(first, SetMode, mode=0o600)
    assert ordered(shipped_folder, first, mode) == (first, mode)


@pytest.mark.parametrize(
    ("volume", "path", "reason"),
    [
        ("root", "etc/motd", "not the absolute path"),
        ("root", "//etc/motd", "not the absolute path"),
        ("root", "/etc/../motd", "not the absolute path"),
        ("root", "/etc/motd/", "not the absolute path"),
        ("root", "/", "not the absolute path"),
        ("root", "/etc/a\nb", "cannot be printed"),
        ("root", f"/etc/{'x' * 256}", "more than 255 bytes"),
        ("root", "/boot/firmware/config.txt", "is mounted on /boot/firmware"),
        ("boot", "/a:b", "a name that FAT cannot hold"),
        ("boot", "/overlays./x", "a name that FAT cannot hold"),
    ],
)
def test_paths_that_no_pi_could_have(volume: Volume, path: str, reason: str, shipped_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        ordered(shipped_folder, write(path, volume=volume))


def test_a_symlink_on_fat_is_refused(shipped_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="which FAT cannot hold"):
        ordered(shipped_folder, like(write("/link", volume="boot"), Symlink, target="/config.txt"))


def test_fat_names_that_differ_in_case_are_one(shipped_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="wanted in two ways"):
        ordered(shipped_folder, write("/CONFIG.TXT", volume="boot"), write("/config.txt", volume="boot", content=b"1"))


def test_a_file_cannot_be_a_parent(shipped_folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="is below /etc/a, which is no directory"):
        ordered(shipped_folder, write("/etc/a"), write("/etc/a/b/c"))


def test_a_directory_is_a_parent(shipped_folder: Path) -> None:
    folder = like(write("/etc/a"), MakeDir)
    assert ordered(shipped_folder, write("/etc/a/b"), folder) == (folder, write("/etc/a/b"))


def test_a_roles_own_file_cannot_silently_replace_a_features(project_folder: Path) -> None:
    own = project_folder / "overlays/roles/worker/root/etc/qemu/bridge.conf"
    own.parent.mkdir()
    own.write_text("allow all\n")
    with pytest.raises(ConfigurationError) as caught:
        plan_of(project_folder)
    assert "guest (profiles/bases/debian-trixie.yaml:" in str(caught.value)
    assert "role (overlays/roles/worker/root/etc/qemu/bridge.conf)" in str(caught.value)


def test_a_features_files_that_are_gone_are_named(project_folder: Path) -> None:
    shutil.rmtree(project_folder / "overlays/features/ssh")
    with pytest.raises(ConfigurationError, match=r"^overlays/features/ssh: is missing"):
        plan_of(project_folder)


def test_a_roles_template_is_the_nodes_and_its_literal_file_the_roles(project_folder: Path) -> None:
    folder = project_folder / "overlays/roles/worker/root/etc"
    (folder / "literal").write_text("{{ node.name }}\n")
    (folder / "template.j2").write_text("{{ node.name }}\n")
    files = {edit.path: edit for edit in plan_of(project_folder).edits if isinstance(edit, WriteFile)}

    assert (files["/etc/literal"].scope, files["/etc/literal"].content) == ("golden", b"{{ node.name }}\n")
    assert (files["/etc/template"].scope, files["/etc/template"].content) == ("node", b"node-003\n")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("role", ROLES)
def test_a_plan_is_a_function_of_the_profiles(base: str, role: str, shipped_folder: Path) -> None:
    first, second = (to_json(plan_of(shipped_folder, base=base, role=role)) for _ in range(2))
    assert first == second
    assert str(shipped_folder) not in first


def test_every_line_names_who_asked_and_a_file(shipped_folder: Path) -> None:
    for line in to_lines(plan_of(shipped_folder)):
        assert line.split()[0] in ("base", "guest", "golden", "node")
        assert "  [" in line


def test_json_has_digests_for_contents(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder)
    edits = {(edit["volume"], edit["path"], edit["kind"]): edit for edit in json.loads(to_json(plan))["edits"]}

    hostname = edits["root", "/etc/hostname", "WriteFile"]
    assert (hostname["sha256"], hostname["size"]) == (hashlib.sha256(b"node-003\n").hexdigest(), 9)
    assert "content" not in hostname
    assert edits["boot", "/config.txt", "PatchText"]["patch"]["kind"] == "NamedBlock"


def test_another_content_is_another_json(shipped_folder: Path) -> None:
    plan = plan_of(shipped_folder)
    changed = replace(plan, edits=(*plan.edits[:-1], write("/etc/other")))
    assert to_json(plan) != to_json(changed)


@pytest.mark.parametrize("role", ROLES)
def test_a_plan_without_secrets_is_the_same_but_for_them(project_folder: Path, role: str) -> None:
    plan = plan_of(project_folder, role=role)
    bare = without_secrets(plan)
    assert not list(secrets_of(bare))
    assert {secret for pending in bare.pending for secret in pending.secrets()} == set(secrets_of(plan))
    assert bare.golden_edits() == plan.golden_edits()
    restored = [p.edit() for p in bare.pending if not isinstance(p, PendingSeed)]
    assert [edit for edit in plan.edits if edit not in bare.edits] == restored
