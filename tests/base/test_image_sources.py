"""The archives and keyrings of a published image, as apt reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.base.archives import image_sources
from builder.errors import BuildError
from builder.fs.tree import Entry, Tree
from builder.model.sources import AptSource
from tests.fetch.test_signatures import make_key

TRIXIE = {
    "etc/apt/sources.list.d/debian.sources": """\
Types: deb
URIs: http://deb.debian.org/debian/
Suites: trixie trixie-updates
Components: main contrib non-free non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

# Types: deb
Types: deb deb-src
URIs: http://deb.debian.org/debian-security/
Suites: trixie-security
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp
""",
    "etc/apt/sources.list.d/raspi.sources": """\
Types: deb
URIs: http://archive.raspberrypi.com/debian/
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/raspberrypi-archive-keyring.pgp

Enabled: no
Types: deb
URIs: http://example.org/
Suites: x
""",
    "usr/share/keyrings/debian-archive-keyring.pgp": "DEBIAN",
    "usr/share/keyrings/raspberrypi-archive-keyring.pgp": "PI",
}
BOOKWORM = {
    "etc/apt/sources.list": """\
deb http://deb.debian.org/debian bookworm main contrib
# Uncomment deb-src lines below then 'apt-get update' to enable 'apt-get source'
#deb-src http://deb.debian.org/debian bookworm main
deb [ arch=arm64 signed-by=/usr/share/keyrings/x.gpg ] http://example.org/x/ stable main # ours
""",
    "etc/apt/sources.list.d/raspi.list": "deb http://archive.raspberrypi.com/debian/ bookworm main\n",
    "etc/apt/trusted.gpg.d/a.gpg": "A",
    "etc/apt/trusted.gpg.d/b.gpg": "B",
    "etc/apt/trusted.gpg.d/readme.txt": "no key",
    "usr/share/keyrings/x.gpg": "X",
}


def tree_of(files: dict[str, str]) -> Tree:
    tree = Tree(epoch=0)
    tree.entries |= {path: Entry.of_bytes(text.encode(), 0) for path, text in files.items()}
    return tree


def facts(sources: list[AptSource], folder: Path) -> list[tuple[str, tuple[str, ...], tuple[str, ...], str]]:
    return [(source.uri, source.suites, source.components, (folder / source.keyring).read_text()) for source in sources]


def test_stanzas_with_a_keyring_each(tmp_path: Path) -> None:
    assert facts(image_sources(tree_of(TRIXIE), tmp_path), tmp_path) == [
        (
            "http://deb.debian.org/debian",
            ("trixie", "trixie-updates"),
            ("main", "contrib", "non-free", "non-free-firmware"),
            "DEBIAN",
        ),
        ("http://deb.debian.org/debian-security", ("trixie-security",), ("main", "contrib"), "DEBIAN"),
        ("http://archive.raspberrypi.com/debian", ("trixie",), ("main",), "PI"),
    ]


def test_stanzas_are_those_that_apt_reads(tmp_path: Path) -> None:
    """As `apt-get update --print-uris` lists them. One whose text is the name of a file is not that file."""
    rest = "Suites: s\nComponents: main\n"
    names = {word: f"Types: deb\nURIs: http://{word}.example/\n{rest}Enabled: {word}\n" for word in ("yes", "maybe")}
    off = ("no", "No", "false", "without", "off", "disable", "0")
    unread = [f"Types: deb\nURIs: http://off.example/\n{rest}Enabled: {word}\n" for word in off]
    written = [
        *unread,
        "# a comment\n#\n",
        *names.values(),
        "Types:deb\nURIs:http://no-blank.example/\nSuites:s\nComponents:main\n",
        f"types : deb\n# URIs: http://off.example/\nuris: \n http://small.example/\n http://two.example/\n{rest}",
    ]
    host = tmp_path / "host.sources"
    host.write_text(f"Types: deb\nURIs: http://host.example/\n{rest}")
    files = {"a.sources": "\n".join(written), "b.sources": str(host), "c.sources": ""}
    tree = tree_of(
        {f"etc/apt/sources.list.d/{name}": text for name, text in files.items()} | {"etc/apt/trusted.gpg": "A"}
    )
    found = [source.uri for source in image_sources(tree, tmp_path)]
    assert found == [f"http://{name}.example" for name in ("yes", "maybe", "no-blank", "small", "two")]


def test_lines_are_checked_with_all_that_apt_trusts_unless_they_say_otherwise(tmp_path: Path) -> None:
    assert facts(image_sources(tree_of(BOOKWORM), tmp_path), tmp_path) == [
        ("http://deb.debian.org/debian", ("bookworm",), ("main", "contrib"), "AB"),
        ("http://example.org/x", ("stable",), ("main",), "X"),
        ("http://archive.raspberrypi.com/debian", ("bookworm",), ("main",), "AB"),
    ]


def test_a_keyring_behind_a_link_is_followed_inside_the_image(tmp_path: Path) -> None:
    tree = tree_of(TRIXIE)
    tree.entries["usr/share/keyrings"] = Entry("link", 0o777, target="/srv/keys")
    for name in ("debian", "raspberrypi"):
        entry = tree.entries.pop(f"usr/share/keyrings/{name}-archive-keyring.pgp")
        tree.entries[f"srv/keys/{name}-archive-keyring.pgp"] = entry
    assert [fact[3] for fact in facts(image_sources(tree, tmp_path), tmp_path)] == ["DEBIAN", "DEBIAN", "PI"]


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({}, "the image names no archive in /etc/apt"),
        ({"etc/apt/sources.list": "deb http://x/ stable main\n"}, "no keyring checks this archive: trusted.gpg.d"),
        (
            {"etc/apt/sources.list": "deb [signed-by=/gone.gpg] http://x/ stable main\n"},
            "no keyring checks this archive: gone.gpg",
        ),
        (
            {"etc/apt/sources.list": "deb [signed-by=0123456789ABCDEF] http://x/ stable main\n"},
            "names its key in a way that is not understood: Signed-By is to be a file",
        ),
        (
            {"etc/apt/sources.list": "deb [trusted=yes] file:/etc stable main\n", "etc/apt/trusted.gpg.d/a.gpg": "A"},
            "is no archive on a server; file: would be one on this machine",
        ),
        (
            {"etc/apt/sources.list.d/x.sources": "Types: deb\nURIs: http://x/\nSuites: stable\n"},
            "names no suite or no component of this archive in the image's /etc/apt",
        ),
        (
            {"etc/apt/sources.list": "#" * (16 << 20) + "\ndeb http://x/ stable main\n"},
            "is larger than 16 MiB in the image",
        ),
    ],
)
def test_nothing_is_installed_unsigned(tmp_path: Path, files: dict[str, str], error: str) -> None:
    with pytest.raises(BuildError) as caught:
        image_sources(tree_of(files), tmp_path)
    assert caught.value.message == error


@pytest.mark.disk
def test_armored_keys_are_put_beside_binary_ones(tmp_path: Path) -> None:
    key = make_key(tmp_path / "gpg", "archive@example.org")
    files = {
        "etc/apt/sources.list": "deb http://x/ stable main\n",
        "etc/apt/trusted.gpg.d/a.asc": key.public().decode(),
    }
    tree = tree_of(files)
    tree.entries["etc/apt/trusted.gpg.d/b.gpg"] = Entry.of_bytes(b"B", 0)
    (source,) = image_sources(tree, tmp_path)
    assert (tmp_path / source.keyring).read_bytes() == key.public(armor=False) + b"B"
