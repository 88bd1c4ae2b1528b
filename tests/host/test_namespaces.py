"""Doctor and the bake say that the kernel refuses namespaces, and give a remedy; each refusal is the kernel's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.host import run
from tests.conftest import SHIPPED

pytestmark = [
    pytest.mark.disk,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes rights away from itself: needs root"),
]

READS_ALL = "+dac_override,+dac_read_search"  # the project's folder may be root's alone
DAEMON, NAMELESS = 1, 4242
AS = ["setpriv", "--clear-groups", f"--inh-caps={READS_ALL}", f"--ambient-caps={READS_ALL}"]
LAST_NAMESPACE = """
ranges=$1; shift
mkfifo "$ranges.go"
export ranges inside='
    for file in subuid subgid; do mount --bind "$ranges" /etc/$file; done
    echo 0 >/proc/sys/user/max_user_namespaces
    exec "$@"'
# Who is nobody when a program begins has no rights in the namespace, so the next one begins when the ids are known.
unshare --user --mount sh -euc 'read -r _ <"$ranges.go"; exec sh -euc "$inside" sh "$@"' sh "$@" &
until [ "$(readlink /proc/$!/ns/user)" != "$(readlink /proc/$$/ns/user)" ]; do sleep 0.02; done
for map in uid_map gid_map; do echo 0 0 65536 >/proc/$!/$map; done
echo >"$ranges.go"
wait $!
"""
# A module that does nothing when it is run.
ASKS = """
import sys
from pathlib import Path
from tempfile import mkdtemp
from builder.errors import PimuError
from builder.host.sandbox import run_inside
try:
    work, trusted = Path(mkdtemp()), sys.argv[1] == "trusted"
    run_inside("builder.bake.mounts", work=work, trusted=trusted, on_line=print)
except PimuError as error:
    print(error)
    sys.exit(error.exit_code)
"""
BAKES = """
import sys
from pathlib import Path
from tempfile import mkdtemp
from builder.errors import PimuError
from builder.host.sandbox import run_inside
try:
    run_inside("builder.bake.inside", "/nonexistent", work=Path(mkdtemp()), on_line=lambda _: None)
except PimuError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def in_a_namespace_without_more(ranges: Path) -> list[str]:
    """An ordinary user where user.max_user_namespaces is 0: unshare(2) fails with ENOSPC, of all errors."""
    return ["sh", "-euc", LAST_NAMESPACE, "sh", str(ranges), *AS, f"--reuid={DAEMON}", "--"]


def as_root_of_a_container(_: Path) -> list[str]:
    return ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", "--"]


REFUSALS = pytest.mark.parametrize("refusal", [in_a_namespace_without_more, as_root_of_a_container])


def outcome(words: Sequence[str | Path]) -> run.Result:
    return run.run(words, env={"PYTHONPATH": str(SHIPPED), "PYTHONDONTWRITEBYTECODE": "1"}, cwd=SHIPPED, check=False)


@pytest.fixture
def ranges(tmp_path: Path) -> Path:
    file = tmp_path / "ranges"
    file.write_text(f"{DAEMON}:100000:65536\n")
    return file


@REFUSALS
def test_a_bake_that_is_refused_says_what_to_do(refusal: object, ranges: Path) -> None:
    assert callable(refusal)
    said = outcome([*refusal(ranges), sys.executable, "-c", BAKES])
    assert said.returncode == 5, said
    assert "this kernel lets us have no namespaces of our own (unshare: unshare failed: " in said.text
    assert "CAP_SYS_ADMIN" in said.text
    assert "user.max_user_namespaces" in said.text


@REFUSALS
def test_trust_in_packages_is_no_way_without_namespaces_and_says_so(refusal: object, ranges: Path) -> None:
    assert callable(refusal)
    said = outcome([*refusal(ranges), sys.executable, "-c", ASKS, "trusted"])
    assert said.returncode == 5, said
    assert "this kernel lets us have no namespaces of our own" in said.text
    assert "CAP_SYS_ADMIN" in said.text
    assert "--trust-packages needs them too: without a mount namespace" in said.text


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("README.md", "Mount namespaces are needed even then (in a container: `CAP_SYS_ADMIN`)"),
        ("docs/security.md", "where the kernel refuses these, too, a build stops"),
        ("docs/ci/Containerfile", "--trust-packages does without the boundary, not without these namespaces"),
        ("docs/ci/github.yml", "--trust-packages does without the boundary, not without these namespaces"),
        ("docs/ci/gitlab.yml", "--trust-packages does without the boundary, not without these namespaces"),
        ("builder/cli/images.py", '"namespaces are needed even then."'),
    ],
)
def test_each_text_about_trust_in_packages_says_so(file: str, said: str) -> None:
    assert said in " ".join((SHIPPED / file).read_text().replace("#", " ").split())


@REFUSALS
def test_doctor_says_the_same(refusal: object, ranges: Path, tmp_path: Path) -> None:
    assert callable(refusal)
    said = outcome([*refusal(ranges), "env", f"PIMU_CACHE={tmp_path}", sys.executable, "-m", "builder", "doctor"])
    assert said.returncode == 5, said
    (line,) = (number for number, line in enumerate(said.text.splitlines()) if "namespaces" in line.split())
    assert "--trust-packages needs them too" in "\n".join(said.text.splitlines()[line : line + 3])
    assert "user.max_user_namespaces" in "\n".join(said.text.splitlines()[line : line + 3])


def test_root_without_user_namespaces_is_told_the_word_that_goes_on_without_a_boundary(ranges: Path) -> None:
    container = ["sh", "-euc", LAST_NAMESPACE, "sh", str(ranges)]
    said = outcome([*container, sys.executable, "-c", ASKS, "untrusted"])
    assert said.returncode == 5, said
    assert "no boundary between packages and this machine (unshare: unshare failed: " in said.text
    assert "--trust-packages" in said.text


def test_who_trusts_packages_goes_on_without_a_boundary_and_is_told_so(ranges: Path) -> None:
    container = ["sh", "-euc", LAST_NAMESPACE, "sh", str(ranges)]
    said = outcome([*container, sys.executable, "-c", ASKS, "trusted"])
    assert said.returncode == 0, said
    assert said.text.splitlines() == ["without a boundary: each package is trusted with this machine"]


def test_who_trusts_packages_has_the_boundary_where_there_is_one(tmp_path: Path) -> None:
    said = outcome(["env", f"TMPDIR={tmp_path}", sys.executable, "-c", ASKS, "trusted"])
    assert (said.returncode, said.text) == (0, "")


def test_newuidmap_without_the_rights_of_root_is_told_what_to_do(ranges: Path, tmp_path: Path) -> None:
    """As in a container: a namespace is to be had, but newuidmap, setuid root, gets no CAP_SYS_ADMIN."""
    user = [*AS, "--bounding-set=-sys_admin", f"--reuid={DAEMON}", f"--regid={DAEMON}", "--"]
    inside = 'for file in subuid subgid; do mount --bind "$0" /etc/$file; done; exec "$@"'
    world = ["unshare", "--mount", "sh", "-euc", inside, str(ranges), *user]
    said = outcome([*world, sys.executable, "-c", BAKES])
    assert said.returncode == 5, said
    assert "our subordinate ids cannot be mapped (newuidmap: write to uid_map failed" in said.text
    assert "setcap cap_setuid=ep /usr/bin/newuidmap" in said.text
    said = outcome([*world, "env", f"PIMU_CACHE={tmp_path}", sys.executable, "-m", "builder", "doctor"])
    assert said.returncode == 5, said
    (line,) = (number for number, line in enumerate(said.text.splitlines()) if line.split()[1:2] == ["newuidmap"])
    assert "setcap cap_setgid=ep" in "\n".join(said.text.splitlines()[line : line + 3])


def test_who_has_no_name_can_be_told_what_is_missing(tmp_path: Path) -> None:
    """A container may run as a user that no file lists."""
    said = outcome(
        [*AS, f"--reuid={NAMELESS}", "--", "env", f"PIMU_CACHE={tmp_path}", sys.executable, "-m", "builder", "doctor"]
    )
    assert said.returncode == 5, said
    assert f"no line for {NAMELESS}" in said.text
    said = outcome([*AS, f"--reuid={NAMELESS}", "--", sys.executable, "-c", BAKES])
    assert said.returncode == 5, said
    assert "subordinate ids" in said.text


def test_a_cache_of_somebody_else_is_named_by_doctor(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    words = ["setpriv", "--clear-groups", f"--reuid={DAEMON}", "env", f"PIMU_CACHE={private / 'cache'}"]
    said = outcome([*words, sys.executable, "-m", "builder", "doctor"])
    assert said.returncode == 5, said
    assert f"{private / 'cache'}: Permission denied" in said.text
