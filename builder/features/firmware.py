"""Edits of config.txt, cmdline.txt and the files from which Debian's raspi-firmware rewrites these two. Only this
module edits them.

Features hand over lines and words, in the order of the features. On Raspberry Pi OS both files are written once, when
the image is built. On Debian the hook of raspi-firmware (/etc/kernel/postinst.d/z50-raspi-firmware) rewrites both at
every update of kernel, initrd or firmware: it appends /etc/default/raspi-firmware-custom to config.txt, and the words
of /etc/default/raspi-extra-cmdline to cmdline.txt. The same text is written there too, or the first `apt upgrade` on
the Pi would remove it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from builder.errors import ConfigurationError
from builder.model.edits import Edit, PatchText, Scope, WriteFile
from builder.model.patches import KernelWords, NamedBlock
from builder.model.settings import Base

When: TypeAlias = Literal["always", "image", "update"]
"""`image`: only in the image's cmdline.txt. `update`: only in the file for kernel updates. `always`: in both."""

ALL = "[all]"
"""The filter of config.txt that ends all others (raspberrypi/documentation, config_txt/conditional.adoc)."""

_CONFIG, _CMDLINE = "/config.txt", "/cmdline.txt"
_CUSTOM, _EXTRA = "/etc/default/raspi-firmware-custom", "/etc/default/raspi-extra-cmdline"
_LISTS = frozenset({"dtoverlay", "dtparam", "gpio", "include", "initramfs"})
"""Settings of config.txt that may be given several times; each line counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigLines:
    """Lines of config.txt, without newlines. A filter in them does not apply to lines before or after them."""

    feature: str
    origin: str
    scope: Scope
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCommand:
    """Words of the kernel's command line."""

    feature: str
    origin: str
    scope: Scope
    words: KernelWords
    when: When


FirmwareText: TypeAlias = ConfigLines | KernelCommand


def sections(lines: Mapping[str, Iterable[str]]) -> list[str]:
    """The lines of config.txt for `lines`, which are given by filter (`pi4`, `gpio4=1`; `all` matches every Pi).

    [all] stands before each filter, because filters of different kinds add up: [pi4] below [EDID=...] would need that
    monitor too.
    """
    text = [ALL]
    for name, own in lines.items():
        text += own if name == "all" else [f"[{name}]", *own, ALL]
    return text


def firmware_edits(texts: Iterable[FirmwareText], base: Base) -> Iterator[Edit]:
    """Edits for `texts`, given in the order of the features.

    Raises ConfigurationError when two features give one setting of config.txt for the same filter, or one of them for
    all Pis.
    """
    texts = tuple(texts)
    lines = sorted((text for text in texts if isinstance(text, ConfigLines)), key=lambda text: text.scope != "golden")
    words = [text for text in texts if isinstance(text, KernelCommand)]
    _refuse_contradictions(lines)
    for text in lines:
        yield _patch_boot(_CONFIG, text, NamedBlock(text.feature, _closed(text.lines)))
    for command in words:
        if command.when != "update":
            yield _patch_boot(_CMDLINE, command, command.words)
    if base.firmware == "raspi-firmware":
        yield from _custom(lines)
        yield from _extra([command for command in words if command.when != "image"])


def _custom(lines: Iterable[ConfigLines]) -> Iterator[Edit]:
    """No package ships the file: the first feature's edit creates it, each later one adds a block."""
    for number, text in enumerate(lines):
        block = _closed(text.lines)
        if number:
            yield _patch_root(_CUSTOM, text, text.scope, NamedBlock(text.feature, block))
        else:
            yield _write(_CUSTOM, text, text.scope, "\n".join(block))


def _extra(commands: Iterable[KernelCommand]) -> Iterator[Edit]:
    """Every edit has the scope `node`, because root= names the node's disk."""
    for number, command in enumerate(commands):
        if number:
            yield _patch_root(_EXTRA, command, "node", command.words)
        else:
            yield _write(_EXTRA, command, "node", " ".join(command.words.add))


def _closed(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The lines with [all] before and after them, so that no filter applies across their borders."""
    head = () if lines[:1] == (ALL,) else (ALL,)
    filters = [line for line in (*head, *lines) if line.startswith("[")]
    return (*head, *lines, *(() if filters[-1] == ALL else (ALL,)))


def _refuse_contradictions(lines: Iterable[ConfigLines]) -> None:
    given: dict[str, list[tuple[str, ConfigLines]]] = {}
    for text in lines:
        for filter_name, name in _settings(text.lines):
            for other_filter, other in given.setdefault(name, []):
                if other.feature != text.feature and (
                    filter_name == other_filter or ALL in (filter_name, other_filter)
                ):
                    raise ConfigurationError(
                        f"{name} of config.txt is wanted by two features: {other.feature} and {text.feature}",
                        where=text.origin,
                        hint=f"{other.feature} gives it at {other.origin}: keep one of them",
                    )
            given[name].append((filter_name, text))


def _settings(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Filter and name of each setting. Settings that may be given several times are left out."""
    filter_name = ALL
    for line in lines:
        name, equals, _ = line.partition("=")
        if line.startswith("["):
            filter_name = line
        elif equals and not line.startswith("#") and name not in _LISTS:
            yield filter_name, name


def _patch_boot(path: str, text: FirmwareText, patch: NamedBlock | KernelWords) -> Edit:
    return PatchText(volume="boot", path=path, scope=text.scope, feature=text.feature, origin=text.origin, patch=patch)


def _patch_root(path: str, text: FirmwareText, scope: Scope, patch: NamedBlock | KernelWords) -> Edit:
    return PatchText(volume="root", path=path, scope=scope, feature=text.feature, origin=text.origin, patch=patch)


def _write(path: str, text: FirmwareText, scope: Scope, content: str) -> Edit:
    return WriteFile(
        volume="root",
        path=path,
        scope=scope,
        feature=text.feature,
        origin=text.origin,
        content=f"{content}\n".encode(),
    )
