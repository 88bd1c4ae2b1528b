"""Settings of dpkg in a base image count for that image alone, and never run or write on the build host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.bake.target_etc import path_filters
from builder.bake.tree_files import make_link, write_text
from builder.errors import BuildError, ConfigurationError
from builder.host.run import run
from tests.bake.test_bake import furnish

CFG, FOLDER = "etc/dpkg/dpkg.cfg", "etc/dpkg/dpkg.cfg.d"


@pytest.mark.parametrize(
    "line",
    [
        "pre-invoke=touch /tmp/pimu-was-here",
        "post-invoke touch /tmp/pimu-was-here",
        "status-logger=tee /tmp/pimu-was-here",
        "log /var/log/dpkg.log",
        "admindir=/var/lib/dpkg",
        "instdir /",
        "root=/",
        "force-all",
        "path-excluded=/etc/*",
        "# path-exclude=/etc/*",
        "",
    ],
)
def test_no_other_option_of_an_image_reaches_the_hosts_dpkg(line: str, tmp_path: Path) -> None:
    tree = furnish(tmp_path / "tree", {CFG: f"{line}\n".encode(), f"{FOLDER}/x": f"{line}\n".encode()})
    assert path_filters(tree) == []


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("path-exclude=/usr/share/man/*", "--path-exclude=/usr/share/man/*"),
        ("path-exclude /usr/share/man/*", "--path-exclude=/usr/share/man/*"),
        ("path-include = /usr/share/doc/*/copyright", "--path-include=/usr/share/doc/*/copyright"),
        ('path-exclude="/usr/share/a b"', "--path-exclude=/usr/share/a b"),
    ],
)
def test_what_an_image_does_not_want_unpacked_is_left_out(line: str, option: str, tmp_path: Path) -> None:
    assert path_filters(furnish(tmp_path / "tree", {f"{FOLDER}/docker": f"{line}\n".encode()})) == [option]


def test_filters_keep_the_order_in_which_dpkg_reads_them(tmp_path: Path) -> None:
    texts = {f"{FOLDER}/b": b"path-include=/b\n", f"{FOLDER}/a": b"path-exclude=/a\n", CFG: b"path-exclude=/0\n"}
    tree = furnish(tmp_path / "tree", {**texts})
    assert path_filters(tree) == ["--path-exclude=/0", "--path-exclude=/a", "--path-include=/b"]


@pytest.mark.parametrize(
    ("links", "path"),
    [
        ({"etc/initramfs-tools": "OUT"}, "/etc/initramfs-tools/conf.d/pimu"),
        ({"etc": "OUT"}, "/etc/initramfs-tools/conf.d/pimu"),
        ({"usr/lib/pimu": "OUT"}, "/usr/lib/pimu/identities"),
        ({"usr/lib/pimu": "../../../outside"}, "/usr/lib/pimu/identities"),
    ],
)
def test_nothing_of_ours_is_written_behind_a_link(links: dict[str, str], path: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    tree = furnish(tmp_path / "tree", {name: target.replace("OUT", str(outside)) for name, target in links.items()})
    with pytest.raises(BuildError, match=f"^{path}: cannot be written there"):
        write_text(tree, path, "ours", 0o644)
    with pytest.raises(BuildError, match=f"^{path}: cannot be written there"):
        make_link(tree, path, "ours")
    assert list(outside.iterdir()) == []


def test_a_link_in_the_place_of_a_file_of_ours_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    tree = furnish(tmp_path / "tree", {"etc/x": str(victim)})
    write_text(tree, "/etc/x", "ours", 0o640)
    assert (victim.read_text(), (tree / "etc/x").read_text()) == ("theirs", "ours")
    assert (tree / "etc/x").lstat().st_mode == 0o100640


@pytest.mark.parametrize("kind", ["a link to the host", "a fifo", "a huge file", "its folder is a link"])
def test_a_settings_file_that_is_no_plain_file_is_refused(kind: str, tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("path-exclude=/secret\n")
    furnish(tree, {"etc/dpkg": None})
    folder = tree / FOLDER
    if kind == "its folder is a link":
        folder.symlink_to(outside)
    else:
        folder.mkdir()
        match kind:
            case "a link to the host":
                (folder / "x").symlink_to(outside / "x")
            case "a fifo":
                os.mkfifo(folder / "x")
            case _:
                run(["truncate", "-s", "8G", folder / "x"])
    with pytest.raises(ConfigurationError) as refused:
        path_filters(tree)
    assert refused.value.where == f"{FOLDER}/x"
