"""Names of the types of keys."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from builder.limits import GIB, MIB
from builder.model import k3s, sources, values

_NAMED: tuple[tuple[Any, str], ...] = (
    (values.Size, "size"),
    (values.Share, "share such as 33%"),
    (values.Mac, "MAC address"),
    (values.Ipv4, "IPv4 address"),
    (values.Ipv4Interface, "IPv4 address with prefix length"),
    (values.Hostname, "host name"),
    (values.Domain, "domain name"),
    (values.Timezone, "time zone"),
    (values.Locale, "locale"),
    (values.Calendar, "calendar event"),
    (values.Package, "package name"),
    (values.Origin, "origin pattern"),
    (values.Version, "version"),
    (values.Sha256, "sha256"),
    (values.Url, "URL"),
    (values.PublicKey, "OpenPGP public key"),
    (values.SecretReference, "reference to a secret"),
    (values.UsbId, "USB id"),
    (sources.Keyring, "path"),
    (k3s.Version, "release of k3s"),
    (k3s.Server, "https address"),
    (k3s.Label, "label"),
    (k3s.Taint, "taint"),
)
"""Types of the model with their names."""
_PLAIN = {str: "text", int: "whole number", bool: "true or false", types.NoneType: "null"}


def words(hint: Any, constraints: Iterable[Any] = ()) -> str:
    """A type such as `tuple[Package, ...]` in words: `list of package names`. `constraints` are those of its field."""
    metadata: tuple[Any, ...] = ()
    name = ""
    if get_origin(hint) is Annotated:
        metadata = hint.__metadata__
        name = next((name for alias, name in _NAMED if _is(hint, alias)), "")
        hint = hint.__origin__
    return (name or _words(hint)) + _bounds([*metadata, *constraints], is_size=name == "size")


def _is(hint: Any, alias: Any) -> bool:
    """Whether `hint` is the type `alias`, perhaps with further constraints."""
    known = alias.__metadata__
    return bool(hint.__origin__ is alias.__origin__ and hint.__metadata__[: len(known)] == known)


def _words(hint: Any) -> str:
    arguments = get_args(hint)
    match get_origin(hint):
        case None:
            return "mapping" if isinstance(hint, type) and issubclass(hint, BaseModel) else _PLAIN[hint]
        case origin if origin in (Literal, Union, types.UnionType):
            *most, last = dict.fromkeys(_alternatives(hint))
            return f"{', '.join(most)} or {last}" if most else last
        case origin if origin is tuple:
            return f"list of {_plural(arguments[0])}"
        case origin if origin is dict:
            return f"mapping from {words(arguments[0])} to {words(arguments[1])}"
    raise TypeError(f"no words for {hint}")


def _alternatives(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Literal:
        yield from (_literal(value) for value in get_args(hint))
    elif get_origin(hint) in (Union, types.UnionType):
        for argument in get_args(hint):
            yield from _alternatives(argument)
    else:
        yield words(hint)


def _plural(hint: Any) -> str:
    word = words(hint)
    if get_origin(hint) is Literal:
        return word
    return f"{word}es" if word.endswith("s") else f"{word}s"


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _bounds(metadata: Iterable[Any], *, is_size: bool) -> str:
    """The smallest and the largest value, as words to append; "" without limits."""
    flat = [one for each in metadata for one in (each.metadata if isinstance(each, FieldInfo) else (each,))]
    least = max((int(str(one.ge)) for one in flat if isinstance(one, Ge)), default=0)
    most = min((int(str(one.le)) for one in flat if isinstance(one, Le)), default=None)
    if is_size:
        return f" of at least {_size(least)}" if least else ""
    if most is not None:
        return f" from {least} to {most}"
    return ""


def _size(size: int) -> str:
    return f"{size // GIB}GiB" if size % GIB == 0 else f"{size // MIB}MiB"
