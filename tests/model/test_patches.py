"""Every patch does its one thing, keeps the rest of the file, and does nothing the second time."""

from __future__ import annotations

import pytest

from builder.errors import ConfigurationError
from builder.model.patches import GroupMember, KernelWords, Line, NamedBlock, Patch, Record, SecretRef, Substitute

BLOCK = "# BEGIN pimu trim\nnew \\1\n# END pimu trim\n"

CASES: list[tuple[str, Patch, str, str]] = [
    ("appended to nothing", NamedBlock("trim", ("new \\1",)), "", BLOCK),
    ("appended to a last line without end", NamedBlock("trim", ("new \\1",)), "a=1", f"a=1\n{BLOCK}"),
    (
        "replaced where it is",
        NamedBlock("trim", ("new \\1",)),
        "a\n# BEGIN pimu trim\nold\nolder\n# END pimu trim\nz\n# BEGIN pimu x\n# END pimu x\n",
        f"a\n{BLOCK}z\n# BEGIN pimu x\n# END pimu x\n",
    ),
    (
        "not taken for a block whose name is longer",
        NamedBlock("trim", ("new \\1",)),
        "# BEGIN pimu trim2\n# END pimu trim2\n",
        f"# BEGIN pimu trim2\n# END pimu trim2\n{BLOCK}",
    ),
    (
        "somebody's block without an end is kept",
        NamedBlock("trim", ("new \\1",)),
        "# BEGIN pimu trim\ntheirs\n",
        f"# BEGIN pimu trim\ntheirs\n{BLOCK}",
    ),
    ("replaced at an end without end of line", NamedBlock("trim", ("new \\1",)), BLOCK.rstrip("\n"), BLOCK),
    ("record beside one with another line's end in it", Record(("b", "y")), "a:x\u2028b:x\n", "a:x\u2028b:x\nb:y\n"),
    ("record added", Record(("pi", "x", "1000")), "root:x:0\n", "root:x:0\npi:x:1000\n"),
    ("record replaced", Record(("pi", "x", "1")), "pi:x:9\npipo:x:8\n", "pi:x:1\npipo:x:8\n"),
    ("record of an empty file", Record(("pi", "x")), "", "pi:x\n"),
    ("member of an empty group", GroupMember("sudo", "pimu"), "sudo:x:27:\n", "sudo:x:27:pimu\n"),
    ("member beside others", GroupMember("sudo", "pi"), "sudo:x:27:pip\nadm:x:4:\n", "sudo:x:27:pip,pi\nadm:x:4:\n"),
    ("member of no group", GroupMember("gpio", "pimu"), "sudo:x:27:\n", "sudo:x:27:\n"),
    (
        "kernel words",
        KernelWords(add=("root=PARTUUID=1-02", "quiet"), remove=("root=.*", "resize")),
        "console=tty1 root=/dev/sda  resize quiet resized\n",
        "console=tty1 quiet resized root=PARTUUID=1-02\n",
    ),
    ("kernel words of an empty line", KernelWords(add=("a",)), "", "a\n"),
    ("substitute", Substitute(r"^PORT=.*$", "PORT=22"), "A=1\nPORT=2\nPORT=3\n", "A=1\nPORT=22\nPORT=22\n"),
    ("substitute of nothing", Substitute(r"^X=.*$", "X=1", optional=True), "A=1\n", "A=1\n"),
    ("last line", Line("z"), "z\na", "a\nz\n"),
    ("first line", Line("z", first=True), "a\nz\nz\n", "z\na\n"),
    ("line of an empty file", Line("z"), "", "z\n"),
]


@pytest.mark.parametrize(("patch", "before", "after"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_patch(patch: Patch, before: str, after: str) -> None:
    assert patch.apply(before) == after
    assert patch.apply(after) == after


def test_a_substitute_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="nothing matches"):
        Substitute("^PORT=", "x").apply("A=1\n")


def test_a_secret_is_resolved_when_applied_and_never_described() -> None:
    patch = Record(("pimu", SecretRef("env:HASH")))
    assert patch.describe() == "record pimu:<env:HASH>"
    assert patch.apply("", lambda secret: "$y$hash") == "pimu:$y$hash\n"
    with pytest.raises(ConfigurationError, match="env:HASH is a secret"):
        patch.apply("")
