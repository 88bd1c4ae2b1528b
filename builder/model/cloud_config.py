"""The keys of cloud-init's user-data and meta-data that guests understand (cloud-init's module reference).

All other keys are refused, so that no key in a seed is silently ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from builder.model.authorized_keys import key_lines
from builder.model.guest_seed import SHELL
from builder.model.strict import Strict
from builder.model.values import Domain, of_form

_SUDO = re.compile(r"ALL\s*=\s*\(ALL(\s*:\s*ALL)?\)\s*NOPASSWD\s*:\s*ALL")


def _check_key(value: object) -> object:
    """The key as a line of authorized_keys. Raises ValueError when sshd would not take it."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if "PRIVATE KEY" in text:
        raise ValueError("is a private key; it must never leave your machine")
    if "\n" in text:
        raise ValueError("has a line break; give one key an item")
    try:
        lines = [line for _, line in key_lines(text)]
    except ValueError as error:
        raise ValueError(error.args[1]) from error
    if not lines:
        raise ValueError("is no ssh public key")
    return lines[0]


def _check_sudo(value: object) -> object:
    """Whether the account may become root. Raises ValueError for any rule that guests do not know."""
    rules = value if isinstance(value, list) else [value]
    if value is None or value is False:
        return False
    if all(isinstance(rule, str) and _SUDO.fullmatch(rule.strip()) for rule in rules):
        return bool(rules)
    raise ValueError('is not "ALL=(ALL:ALL) NOPASSWD:ALL", the one rule that guests know; without sudo, say null')


def _split(value: object) -> object:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _locked(value: object) -> object:
    if value is False:
        raise ValueError("is false, but accounts of guests have no password; they are reached by ssh keys")
    return value


def _one_text(value: object) -> object:
    """Refuse a list of words. cloud-init takes one, but tiny-cloud would run the numbers of its items."""
    if isinstance(value, list):
        raise ValueError("is a list of words; write it as one text")
    return value


def _without_passwords(value: object) -> object:
    if value is True:
        raise ValueError("is true, but a guest's sshd takes no passwords")
    return value


Key = Annotated[str, BeforeValidator(_check_key)]
Name = Annotated[str, of_form(r"[a-z_][a-z0-9_-]{0,30}", "is not a name such as pimu or k3s-admin")]
Path = Annotated[str, of_form(r"(/[A-Za-z0-9._+@-]+)+", "is not an absolute path of plain letters")]
Gecos = Annotated[str, of_form(r"[^:\x00-\x1f\x7f]*", "has a colon or a control character")]
Command = Annotated[
    str,
    of_form(r"(?s)[^\x00\r]*\S[^\x00\r]*", "is empty, or has a NUL or a carriage return"),
    BeforeValidator(_one_text),
]
AlpinePackage = Annotated[str, of_form(r"[a-z0-9][A-Za-z0-9._+-]*([=<>~]+[a-z0-9._-]+)?", "is not a package's name")]


class CloudUser(Strict):
    name: Name
    gecos: Gecos = ""
    shell: Path = SHELL
    sudo: Annotated[bool, BeforeValidator(_check_sudo)] = False
    lock_passwd: Annotated[bool, BeforeValidator(_locked)] = True
    groups: Annotated[tuple[Name, ...], BeforeValidator(_split)] = Field(default=(), strict=False)
    ssh_authorized_keys: tuple[Key, ...] = Field(default=(), strict=False)
    older_keys: tuple[Key, ...] = Field(default=(), strict=False, alias="ssh-authorized-keys")
    """A deprecated spelling that cloud-init still takes."""


class FileToWrite(Strict):
    """One entry of write_files. Mode and owner are text, as tiny-cloud reads them."""

    path: Path
    content: str = ""
    permissions: Annotated[str, of_form(r"0?[0-7]{3,4}", 'is not a mode such as "0644"')] = "0644"
    owner: Annotated[str, of_form(r"[a-z_][a-z0-9_-]*(:[a-z_][a-z0-9_-]*)?", "is not USER:GROUP")] = "root:root"
    encoding: Literal["text/plain", "b64", "base64", "gz", "gzip", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"] = (
        "text/plain"
    )
    append: bool = False


class CloudConfig(Strict):
    """`user` renames the account `default`. This account gets the ssh keys of the top level."""

    user: Name | None = None
    users: tuple[Literal["default"] | CloudUser, ...] = Field(default=("default",), strict=False)
    ssh_authorized_keys: tuple[Key, ...] = Field(default=(), strict=False)
    ssh_pwauth: Annotated[bool, BeforeValidator(_without_passwords)] = False
    hostname: Domain | None = None
    fqdn: Domain | None = None
    bootcmd: tuple[Command, ...] = Field(default=(), strict=False)
    runcmd: tuple[Command, ...] = Field(default=(), strict=False)
    packages: tuple[AlpinePackage, ...] = Field(default=(), strict=False)
    write_files: tuple[FileToWrite, ...] = Field(default=(), strict=False)


class MetaData(Strict):
    instance_id: str = Field(alias="instance-id", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    local_hostname: Domain = Field(alias="local-hostname")
