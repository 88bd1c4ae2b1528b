"""The archives that a published image is kept up to date from: its sources.list(5) and its keyrings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import limits
from builder.errors import BuildError
from builder.fetch.signatures import dearmored
from builder.fs.tree import Entry, Tree
from builder.lock.stanzas import stanzas
from builder.model.sources import AptSource

_LIST_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")
_NO = ("no", "false", "without", "off", "disable", "0")
"""Words of apt's for no (apt_pkg.string_to_bool)."""
_TRUSTED = "etc/apt/trusted.gpg.d/"


def image_sources(tree: Tree, keyrings: Path) -> list[AptSource]:
    """The archives that a system in a tree is kept up to date from, as sources.list(5) says. Their keyrings are written
    into the folder `keyrings`, under the names that the answers give.

    Raises BuildError when it has none, or one without a keyring: nothing is installed unsigned.
    """
    found = []
    for path, entry in tree.files():
        folder, _, name = path.rpartition("/")
        if path == "etc/apt/sources.list" or (folder == "etc/apt/sources.list.d" and name.endswith(".list")):
            found += list(_of_lines(_text(path, entry)))
        elif folder == "etc/apt/sources.list.d" and name.endswith(".sources"):
            found += list(_of_stanzas(_text(path, entry)))
    if not found:
        raise BuildError("the image names no archive in /etc/apt", hint="the base is not what its profile says")
    return [_with_keyring(source, tree, keyrings) for source in found]


def _text(path: str, entry: Entry) -> str:
    """An image may hold anything; what is no text names no archive."""
    return _content(path, entry).decode("utf-8", "replace")


def _content(path: str, entry: Entry) -> bytes:
    if entry.size > limits.APT_FILE:
        raise BuildError(f"is larger than {limits.APT_FILE >> 20} MiB in the image", where=f"/{path}")
    return entry.read()


def _of_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if match := _LIST_LINE.match(line.partition("#")[0].strip()):
            options = dict(option.split("=", 1) for option in (match["options"] or "").split() if "=" in option)
            yield {
                "uri": match["uri"],
                "suites": [match["suite"]],
                "components": match["components"].split(),
                "keyring": options.get("signed-by", ""),
            }


def _of_stanzas(text: str) -> Iterator[dict[str, Any]]:
    for fields in stanzas(text):
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled", "yes").strip().lower() in _NO:
            continue
        for uri in fields.get("URIs", "").split():
            yield {
                "uri": uri,
                "suites": fields.get("Suites", "").split(),
                "components": fields.get("Components", "").split(),
                "keyring": fields.get("Signed-By", "").strip(),
            }


def _with_keyring(source: dict[str, Any], tree: Tree, keyrings: Path) -> AptSource:
    """A source that names no keyring is checked with all that apt trusts."""
    uri, named = source["uri"], source["keyring"].lstrip("/")
    if not uri.startswith(("http://", "https://")):
        raise BuildError("is no archive on a server; file: would be one on this machine", where=uri)
    if not source["suites"] or not source["components"]:
        raise BuildError("names no suite or no component of this archive in the image's /etc/apt", where=uri)
    if named and not named.endswith((".gpg", ".pgp", ".asc")):
        raise BuildError("names its key in a way that is not understood: Signed-By is to be a file", where=uri)
    found = {tree.resolve(named)} if named else {path for path, _ in tree.files() if _is_trusted(path)}
    entries = [(path, entry) for path, entry in tree.files() if path in found]
    content = b"".join(dearmored(_content(path, entry), uri) for path, entry in entries)
    if not content:
        raise BuildError(f"no keyring checks this archive: {named or 'trusted.gpg.d'}", where=uri)
    name = f"{hashlib.sha256(content).hexdigest()}.gpg"
    (keyrings / name).write_bytes(content)
    return AptSource.model_validate({**source, "keyring": name, "uri": uri.rstrip("/")})


def _is_trusted(path: str) -> bool:
    return path == "etc/apt/trusted.gpg" or (path.startswith(_TRUSTED) and path.endswith((".gpg", ".asc")))
