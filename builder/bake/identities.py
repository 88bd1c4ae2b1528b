"""Find the files of maintainer scripts that must not be in an image of many nodes, and deal with them.

A package's own files are the same on every system. A file that its scripts make may differ. If a script makes a key
while the image is built, all nodes share that key, and the next build has another one.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import source_from_cache
from pathlib import Path

from builder import limits
from builder.bake.pack import is_leftover
from builder.bake.tree_files import make_link, write_text
from builder.errors import ConfigurationError
from builder.model.edits import FILE_MODE
from builder.model.identities import Identities, known
from builder.model.image_path import usr_merged

REMAKERS = "/usr/lib/pimu/identities.d/"
_PACKAGES, _LIST = f"{REMAKERS}packages", "/usr/lib/pimu/identities.list"
_SCRIPTS = ("postinst", "preinst", "config", "postrm")

_TEXT_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n(?:[A-Za-z-]+: [^\n]*\n|\r?\n)*[A-Za-z0-9+/=]{16}"
    rb"|-----BEGIN OpenVPN Static key V1-----"
    rb"|PuTTY-User-Key-File-[23]: "
    rb"|AGE-SECRET-KEY-1[0-9A-Z]{50}"
    rb"|(?m:^PrivateKey *= *[A-Za-z0-9+/]{43}=)"  # wg(8)
)
_BINARY_KEY = re.compile(
    rb"\x30(?:\x82..|\x81.|.)\x02\x01[\x00\x01]\x30.{1,3}\x06(?:\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01|\x07\x2a\x86\x48\xce\x3d"
    rb"\x02\x01|\x03\x2b\x65[\x6e-\x71])"  # PKCS #8 (RFC 5208, RFC 8410): RSA, elliptic curves, Ed25519 and its like
    rb"|\x30\x82..\x02\x01\x00\x02\x82..\x00"  # PKCS #1 (RFC 8017)
    rb"|\x30(?:\x81.|.)\x02\x01\x01\x04[\x1c-\x42]"  # SEC 1 (RFC 5915)
    rb"|\x00\x00\x00[\x07\x0b\x13](?:ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp)",  # dropbearkey(1)
    re.DOTALL,
)


def holds_private_key(path: Path) -> bool:
    """Whether a regular file holds a private key in a known form."""
    size = path.stat().st_size
    if size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return bool(_TEXT_KEY.search(content) or (size <= limits.BINARY_KEY and _BINARY_KEY.match(content)))


def text_key_in(content: bytes) -> int | None:
    """The offset in bytes of the first private key in a text form, or None."""
    found = _TEXT_KEY.search(content)
    return None if found is None else found.start()


def settle(root: Path, made: Sequence[Path], unpacked: Path, wanted: Identities) -> None:
    """Keep each such file in the mounted tree `root`, or remove it, or remove it and prepare its remaking on the Pi.

    Scripts have written into the layers `made`. Packages were unpacked into the layer `unpacked`; a file there that no
    package lists also comes from a script. Raises ConfigurationError, with path and package, for a key without a
    choice, and for a choice about an absent file.
    """
    chosen = dict(wanted.chosen)
    needed: set[str] = set()
    remade: dict[str, str] = {}
    for name in _written_by_scripts(root, made, unpacked):
        path = f"/{name}"
        row = known(path)
        action = chosen.pop(path, None)
        if action is None and row is not None and row.remaker is not None:
            action = "remake" if row.remaker else "remove"
        if action is None:
            if row is None and (not holds_private_key(root / name) or _is_compiled_from_a_package(root, path, made)):
                continue
            raise _undecided(root, path)
        if action == "keep":
            continue
        if action == "remake":
            if row is not None and row.remaker:
                needed.add(REMAKERS + row.remaker)
            else:
                remade[path] = _maker(root, path)
                needed.add(_PACKAGES)
        _remove(root, name, made)
    if chosen:
        raise ConfigurationError("no package's script has made this file", where=min(chosen), hint="take the line out")
    if needed:
        _lay_remakers(root, wanted, needed, remade)


def source_of_bytecode(path: str) -> str:
    """The Python source that a file in a `__pycache__` folder was compiled from (PEP 3147), or "" for other files."""
    try:
        return source_from_cache(path)
    except ValueError:
        return ""


def _is_compiled_from_a_package(root: Path, path: str, made: Sequence[Path]) -> bool:
    """Whether a file is Python's byte code of a package's own source. Everybody has the keys in it: tests of fail2ban
    hold one. The source may show no key, for the compiler joins its strings."""
    source = source_of_bytecode(path).strip("/")
    return bool(source) and f"/{source}" in _listed(root) and not any(os.path.lexists(up / source) for up in made)


def _written_by_scripts(root: Path, made: Sequence[Path], unpacked: Path) -> Iterator[str]:
    """Sorted names, relative to `root`, of the regular files that scripts have written."""
    listed = _listed(root)
    of_scripts = {str(path.relative_to(upper)) for upper in made for path in upper.rglob("*")}
    beside = {name for path in unpacked.rglob("*") if f"/{(name := str(path.relative_to(unpacked)))}" not in listed}
    for name in sorted(of_scripts | beside):
        path = root / name
        if os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode) and not is_leftover(name, is_dir=False):
            yield name


def _listed(root: Path) -> set[str]:
    """All paths in the packages' file lists, as they are with merged /usr."""
    lists = (root / "var/lib/dpkg/info").glob("*.list")
    lines = (line for file in lists for line in file.read_text(errors="surrogateescape").splitlines())
    return {usr_merged(line) for line in lines}


def _makers(root: Path, path: str) -> list[str]:
    """Packages with a script that names this path. If there is none, packages with a script that names the file's base
    name."""
    scripts = {
        file: file.read_text(errors="replace")
        for kind in _SCRIPTS
        for file in sorted((root / "var/lib/dpkg/info").glob(f"*.{kind}"))
    }
    for words in (path, path.rpartition("/")[2]):
        if found := sorted(
            {file.name.rpartition(".")[0].partition(":")[0] for file in scripts if words in scripts[file]}
        ):
            return found
    return []


def _maker(root: Path, path: str) -> str:
    makers = _makers(root, path)
    if len(makers) != 1:
        said = f"is named by the scripts of {', '.join(makers)}" if makers else "is named by no package's scripts"
        hint = "nobody knows how to make it again: say keep or remove"
        raise ConfigurationError(f"{said}, so it cannot be remade", where=path, hint=hint)
    return makers[0]


def _undecided(root: Path, path: str) -> ConfigurationError:
    makers = _makers(root, path)
    whose = f" (package {' or '.join(makers)})" if makers else ""
    return ConfigurationError(
        "is a private key that a package's script has made: every node would have the same one",
        where=f"{path}{whose}",
        hint=f"say identities: {{{path}: remake}} in the role's or node's profile (or remove, or keep)",
    )


def _remove(root: Path, name: str, made: Sequence[Path]) -> None:
    """Remove the file, and the links to it that scripts have made, such as a certificate's link by its hash."""
    path = root / name
    for link in path.parent.iterdir():
        by_script = any((upper / name).parent.joinpath(link.name).is_symlink() for upper in made)
        if by_script and link.is_symlink() and os.readlink(link) in (path.name, f"/{name}"):  # noqa: PTH115
            link.unlink()
    path.unlink()


def _lay_remakers(root: Path, wanted: Identities, needed: set[str], remade: Mapping[str, str]) -> None:
    if missing := sorted(needed - wanted.files.keys()):
        raise ConfigurationError("is missing: it would make this on the Pi", where=missing[0])
    for path, (text, mode) in wanted.files.items():
        if path in needed or not path.startswith(REMAKERS):
            write_text(root, path, text, mode)
    for path, link in wanted.links.items():
        make_link(root, path, link)
    if remade:
        write_text(root, _LIST, "".join(f"{path} {package}\n" for path, package in sorted(remade.items())), FILE_MODE)
