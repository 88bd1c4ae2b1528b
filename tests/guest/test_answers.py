"""Alpine's answer file: what each release's setup-alpine and its helpers get of it, in the shells that read it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from builder.errors import ConfigurationError
from builder.model.settings import Guest
from builder.plan.answers import answers
from builder.profile import parse, validate
from builder.project import Project
from builder.project.signers import with_public_key
from builder.template.strict import render
from tests import alpine_conf
from tests.alpine_conf import SHELLS, VERSIONS, install, variables
from tests.conftest import PUBLIC_KEY, SHIPPED

MIRROR = "https://dl-cdn.alpinelinux.org/alpine"
SHIPPED_GUEST = yaml.safe_load((SHIPPED / "profiles/guests/alpine.yaml").read_text())
TABLE = SHIPPED_GUEST["answers"]
INTERFACES = "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n"
HOSTILE = (
    f'{PUBLIC_KEY} it\'s "one" $HOME $(reboot) `id` \\ %s; * # é',
    "ecdsa-sha2-nistp256 AAAA' second\\n-k",
)
DIFFERENT: dict[str, dict[str, tuple[str, ...]]] = {
    "3.15.0": {
        "setup-keymap": ("us", "us"),
        "setup-timezone": ("-z", "Europe/Berlin"),
        "setup-sshd": ("-c", "openssh"),
        "setup-ntp": ("-c", "none"),
    },
    "3.16.0": {"setup-keymap": ("us", "us"), "setup-user": ("-h",), "setup-sshd": ("openssh",)},
}
"""Words that only that release gets."""
UNKNOWN = {"3.15.0": ("setup-devd", "setup-user")}
"""Helpers that there are not yet."""

every_release = pytest.mark.parametrize("release", VERSIONS)
in_both_shells = pytest.mark.parametrize("shell", SHELLS)


def guest(release: str, table: dict[str, object] | None = None) -> Guest:
    """The shipped one, were it of that release."""
    data = {**SHIPPED_GUEST, "release": release, "answers": table or TABLE}
    document = parse(yaml.safe_dump(data), "profiles/guests/alpine.yaml")
    return validate(Guest, with_public_key(document, SHIPPED, {}))


def rendered(
    release: str, *, hostname: str = "k3s-003", keys: tuple[str, ...] = (PUBLIC_KEY,), dialect: str = ""
) -> bytes:
    """`dialect` is the key of a table's entry that is not the release's own."""
    template = Project(SHIPPED).answers
    assert template is not None
    alpine = guest(release, {"3.0": TABLE[dialect]} if dialect else None)
    return answers(template, alpine, hostname=hostname, ssh_keys=keys, timezone="Europe/Berlin", render=render)


# Each release gets its words ------------------------------------------------------------------------------------------


@every_release
@in_both_shells
def test_every_helper_of_every_release_gets_its_words_and_asks_nothing(
    release: str, shell: str, tmp_path: Path
) -> None:
    made = install(release, rendered(release), tmp_path, shell=shell)

    branch = f"{MIRROR}/v{release.rpartition('.')[0]}"
    words: dict[str, tuple[str, ...]] = {
        "setup-keymap": ("none",),
        "setup-hostname": ("k3s-003",),
        "setup-devd": ("-C", "mdev"),
        "setup-interfaces": ("-i",),
        "setup-timezone": ("Europe/Berlin",),
        "setup-proxy": ("-q", "none"),
        "setup-ntp": ("none",),
        "setup-apkrepos": (f"{branch}/main", f"{branch}/community"),
        "setup-user": ("none",),
        "setup-sshd": ("-k", PUBLIC_KEY, "openssh"),
        "setup-disk": ("-q", "-m", "sys", "-s", "0", "/dev/vda"),
    }
    for helper in UNKNOWN.get(release, ()):
        del words[helper]
    assert made.words == words | DIFFERENT.get(release, {})
    assert (made.status, made.questions, made.harm) == (0, {}, {})
    assert made.interfaces == INTERFACES
    assert made.call("setup-sshd").outcome.does == "openssh with 1 keys of root's"
    assert made.call("setup-apkrepos").variables == {"MIRRORS": MIRROR}
    assert made.call("setup-disk").outcome.does == "sys on /dev/vda"
    assert made.call("setup-disk").variables == {
        "ERASE_DISKS": "/dev/vda",
        "BOOTLOADER": "syslinux",
        "KERNELOPTS": "console=tty0 console=ttyS0,115200 tsc=reliable",
    }


@every_release
def test_the_answers_of_a_release_are_these(release: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    text = rendered(release)
    calls = install(release, text, tmp_path, shell="ash").calls
    told = "\n".join(line for call in calls for line in call.describe())
    golden(f"answers-{release}.txt", f"{text.decode()}\n--- what reaches setup-alpine's helpers\n\n{told}\n")


@every_release
def test_both_shells_read_the_same(release: str, tmp_path: Path) -> None:
    text = rendered(release, keys=HOSTILE)
    read = {shell: variables(text, tmp_path, shell) for shell in SHELLS}
    assert read["dash"] == read["ash"]
    assert read["ash"].keys() == set(re.findall("^export ([A-Z_]+)=", text.decode(), re.MULTILINE))
    assert read["ash"]["INTERFACESOPTS"] == INTERFACES
    assert "\n".join(HOSTILE) in read["ash"].values()


@every_release
@in_both_shells
def test_comments_of_keys_and_long_names_arrive_as_they_are(release: str, shell: str, tmp_path: Path) -> None:
    name = f"0-{'9' * 30}--{'a' * 28}"
    made = install(release, rendered(release, hostname=name, keys=HOSTILE), tmp_path, shell=shell)

    sshd = made.call("setup-sshd")
    assert (sshd.variables.get("SSH_KEY") or sshd.words[1]) == "\n".join(HOSTILE)
    assert made.words["setup-hostname"] == (name,)
    assert (made.questions, made.harm) == ({}, {})


@every_release
def test_without_keys_root_gets_none_and_nobody_is_asked(release: str, tmp_path: Path) -> None:
    made = install(release, rendered(release, keys=()), tmp_path, shell="ash")
    assert made.call("setup-sshd").outcome.does == "openssh with 0 keys of root's"
    assert made.questions == {}


# Traps: an answer file that looks right is not ------------------------------------------------------------------------


def test_the_release_of_2021_does_not_read_what_f_names(tmp_path: Path) -> None:
    made = install("3.15.0", rendered("3.15.0"), tmp_path, shell="ash", command="setup-alpine -e -f ./answers")
    assert set(made.words.values()) == {(), ("-q",)}
    assert made.questions.keys() == made.words.keys()
    assert made.harm == {"setup-disk": "installs nothing, and ends well"}
    assert made.status == 0


@pytest.mark.parametrize("release", [release for release in VERSIONS if release != "3.15.0"])
def test_what_is_not_exported_never_reaches_the_disk(release: str, tmp_path: Path) -> None:
    with_f_alone = "setup-alpine -e -f ./answers"
    answered = rendered(release)
    for name, text in (("naive", answered.replace(b"export ", b"")), ("ours", answered)):
        (tmp_path / name).mkdir()
        made = install(release, text, tmp_path / name, shell="ash", command=with_f_alone)
        assert ("setup-disk" in made.harm) == (name == "naive")
        assert bool(made.call("setup-disk").variables) == (name == "ours")


def test_without_e_the_root_password_is_asked_for_without_end(tmp_path: Path) -> None:
    made = install("3.24.2", rendered("3.24.2"), tmp_path, shell="ash", command="setup-alpine -f ./answers")
    assert made.status == alpine_conf.ENDLESS
    assert "setup-disk" not in made.words


@pytest.mark.parametrize(
    ("release", "dialect", "questions", "harm"),
    [
        ("3.15.0", "3.16", {"setup-timezone", "setup-sshd", "setup-ntp"}, {}),
        ("3.15.0", "3.17", {"setup-keymap", "setup-timezone", "setup-sshd", "setup-ntp"}, {}),
        ("3.16.0", "3.15", {"setup-sshd", "setup-ntp", "setup-user"}, {}),
        ("3.16.0", "3.17", {"setup-keymap"}, {"setup-user": "makes the account none"}),
        ("3.24.2", "3.15", {"setup-ntp", "setup-user"}, {}),
    ],
)
def test_another_releases_dialect_is_not_understood(
    release: str, dialect: str, questions: set[str], harm: dict[str, str], tmp_path: Path
) -> None:
    made = install(release, rendered(release, dialect=dialect), tmp_path, shell="ash")
    assert (set(made.questions), made.harm) == (questions, harm)


def test_roots_key_by_its_newer_name_is_lost_before_3_17(tmp_path: Path) -> None:
    made = install("3.16.0", rendered("3.16.0", dialect="3.17"), tmp_path, shell="ash")
    assert made.call("setup-sshd").outcome.does == "openssh with 0 keys of root's"


@pytest.mark.parametrize(("release", "written"), [("3.23.0", "# 1000\n"), ("3.24.2", "# 100%d\n")])
def test_a_percent_sign_in_interfaces_is_a_format_before_3_24(release: str, written: str, tmp_path: Path) -> None:
    naive = rendered(release).replace(b"'auto lo", b"'# 100%d\nauto lo")
    assert install(release, naive, tmp_path, shell="ash").interfaces == written + INTERFACES


@pytest.mark.parametrize(
    ("ours", "naive", "harm"),
    [
        (b"NTPOPTS=none", b"NTPOPTS=chrony", {"setup-ntp": "waits for the right time without end"}),
        (b"ERASE_DISKS=/dev/vda", b"ERASE_DISKS=vda", {"setup-disk": "installs nothing, and ends well"}),
        (b"MIRRORS=https", b"NO_MIRRORS=https", {"setup-apkrepos": "fetches the list of all mirrors"}),
    ],
)
def test_a_slip_in_one_answer_is_not_forgiven(ours: bytes, naive: bytes, harm: dict[str, str], tmp_path: Path) -> None:
    assert ours in rendered("3.24.2")
    made = install("3.24.2", rendered("3.24.2").replace(ours, naive), tmp_path, shell="ash")
    assert made.harm == harm


def test_the_pinned_release_is_of_a_branch_that_was_tried() -> None:
    branches = {release.rpartition(".")[0] for release in VERSIONS}
    assert SHIPPED_GUEST["release"].rpartition(".")[0] in branches


# The table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "key"),
    [("3.15.0", "3.15"), ("3.16.9", "3.16"), ("3.17.0", "3.17"), ("3.100.1", "3.17")],
)
def test_the_highest_dialect_that_is_not_newer_is_taken(release: str, key: str) -> None:
    dialect = guest(release).answer_dialect
    assert dialect is not None
    assert dialect.model_dump(exclude_defaults=True) == TABLE[key]


def test_releases_are_numbers_not_texts() -> None:
    dialect = guest("3.20.1", {"3.9": TABLE["3.16"], "3.15": TABLE["3.17"]}).answer_dialect
    assert dialect is not None
    assert dialect.user == "none"
    assert guest("3.20", {"3.20.0": TABLE["3.17"]}).answer_dialect is not None


@pytest.mark.parametrize(
    ("release", "error"),
    [
        ("3.14.2", "answers: none is for Alpine 3.14.2 or older"),
        ("edge", "answers: are for a release of Alpine such as 3.24.2, and edge is none"),
    ],
)
def test_a_release_without_a_dialect_is_refused(release: str, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        guest(release)
