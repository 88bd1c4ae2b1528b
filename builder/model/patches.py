"""All kinds of text patches. `apply` is idempotent: apply(apply(text)) == apply(text)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from builder.errors import ConfigurationError

SecretKind = Literal["password-hash", "k3s-token", "k3s-ca", "node-passwords"]


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A reference to a secret: `env:NAME`, `file:PATH` or `prompt`. It never holds the secret, which is read at the
    last moment.

    With a `purpose`, it means another secret that is derived from the first, the same at every build: one part of a
    cluster's certificate authorities, the `password` in a token, or a node's password. `ca` is the reference of the
    authorities: the token then works only for the cluster with that root. `user` says whom a token admits; "" means
    any.
    """

    reference: str
    kind: SecretKind = "password-hash"
    purpose: str = ""
    ca: str = ""
    user: Literal["", "node", "server"] = ""
    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    def describe(self) -> str:
        """The references and the purpose, as text."""
        purpose = f" for {self.purpose}" if self.purpose else ""
        pinned = f" with the hash of {self.ca}" if self.ca and not self.purpose else ""
        return f"{self.reference}{purpose}{pinned}"


Resolve = Callable[[SecretRef], str]


def refuse_secrets(secret: SecretRef) -> str:
    raise ConfigurationError(f"{secret.reference} is a secret and may not be read here")


def _lines(text: str) -> list[str]:
    """The lines of a text. str.splitlines() would split a record at U+2028 too."""
    return text.removesuffix("\n").split("\n") if text else []


@dataclass(frozen=True, slots=True)
class NamedBlock:
    """Lines between `# BEGIN pimu NAME` and `# END pimu NAME`, replaced in place or appended at the end of the file."""

    name: str
    lines: tuple[str, ...]

    def describe(self) -> str:
        return f"block {self.name!r}: {'; '.join(self.lines)}"

    def apply(self, text: str, resolve: Resolve = refuse_secrets) -> str:
        begin, end = f"# BEGIN pimu {self.name}", f"# END pimu {self.name}"
        block = "\n".join([begin, *self.lines, end]) + "\n"
        # A block without an end is somebody else's text. The lines after its beginning must stay.
        marks = f"(?:{re.escape(begin)}|{re.escape(end)})$"
        present = re.compile(rf"^{re.escape(begin)}\n(?:(?!{marks}).*\n)*{re.escape(end)}\n", re.MULTILINE)
        whole = text if not text or text.endswith("\n") else f"{text}\n"
        if present.search(whole):
            return present.sub(lambda _: block, whole, count=1)
        return whole + block


_WITH_ID = (7, 4)
"""Numbers of fields in passwd(5) and group(5). The third field is the id. Records of gshadow(5) have four fields too,
but an empty third one."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a colon-separated database (passwd(5), group(5), shadow(5), gshadow(5), subuid(5)). It replaces the
    line with the same first field.

    A SecretRef in `fields` is resolved when the patch is applied. `apply` raises ConfigurationError for an account or
    group that exists with another id: a package made it, and its files would get another owner.
    """

    fields: tuple[str | SecretRef, ...]

    def describe(self) -> str:
        shown = (f"<{field.reference}>" if isinstance(field, SecretRef) else field for field in self.fields)
        return "record " + ":".join(shown)

    def apply(self, text: str, resolve: Resolve = refuse_secrets) -> str:
        fields = [resolve(field) if isinstance(field, SecretRef) else field for field in self.fields]
        lines = _lines(text)
        record = ":".join(fields)
        for number, line in enumerate(lines):
            there = line.split(":")
            if there[0] == fields[0]:
                if len(there) in _WITH_ID and len(there) == len(fields) and there[2] != fields[2] and fields[2]:
                    raise ConfigurationError(f"{fields[0]} is there already, with id {there[2]}")
                lines[number] = record
                break
        else:
            lines.append(record)
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class GroupMember:
    """Add `user` to the members (last field) of `group` in group(5) or gshadow(5); an absent group is skipped."""

    group: str
    user: str

    def describe(self) -> str:
        return f"add {self.user} to group {self.group}"

    def apply(self, text: str, resolve: Resolve = refuse_secrets) -> str:
        lines = _lines(text)
        for number, line in enumerate(lines):
            head, _, members = line.rpartition(":")
            if line.split(":", 1)[0] == self.group:
                names = [name for name in members.split(",") if name]
                if self.user not in names:
                    lines[number] = f"{head}:{','.join([*names, self.user])}"
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class KernelWords:
    """Words of the single line of cmdline.txt. `remove` holds regular expressions that match whole words."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def describe(self) -> str:
        others = [pattern for pattern in self.remove if pattern not in map(re.escape, self.add)]
        gone = f" without {' '.join(others)}" if others else ""
        return f"kernel words {' '.join(self.add)}{gone}"

    def apply(self, text: str, resolve: Resolve = refuse_secrets) -> str:
        drop = [re.compile(pattern) for pattern in self.remove]
        kept = [word for word in text.split() if not any(pattern.fullmatch(word) for pattern in drop)]
        return " ".join([*kept, *(word for word in self.add if word not in kept)]) + "\n"


@dataclass(frozen=True, slots=True)
class Substitute:
    """`re.sub` over the whole text, MULTILINE. Unless `optional`, `apply` raises ConfigurationError without a match."""

    pattern: str
    replacement: str
    optional: bool = False

    def describe(self) -> str:
        return f"s|{self.pattern}|{self.replacement}|"

    def apply(self, text: str, resolve: Resolve = refuse_secrets) -> str:
        changed, count = re.subn(self.pattern, self.replacement, text, flags=re.MULTILINE)
        if not count and not self.optional:
            raise ConfigurationError(f"nothing matches {self.pattern!r}", hint="the base is not what its profile says")
        return changed


@dataclass(frozen=True, slots=True)
class Line:
    """A line that must be in the file once. If it is absent, it becomes the first or last line."""

    line: str
    first: bool = False

    def describe(self) -> str:
        return f"{'first' if self.first else 'last'} line {self.line!r}"

    def apply(self, text: str, resolve: Resolve = refuse_secrets) -> str:
        lines = [line for line in _lines(text) if line != self.line]
        ordered = [self.line, *lines] if self.first else [*lines, self.line]
        return "\n".join(ordered) + "\n"


Patch = NamedBlock | Record | GroupMember | KernelWords | Substitute | Line
