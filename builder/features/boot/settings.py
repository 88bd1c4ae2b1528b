"""The keys for own lines of config.txt and own words of the kernel's command line."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from builder.model.strict import Strict
from builder.model.values import UsbId, of_form

LONGEST_LINE = 98
"""Characters of a line of config.txt; the firmware ignores the rest (raspberrypi.com, config.txt, file format)."""

LONGEST_QUIRKS = 127
"""Characters. The kernel refuses a longer value (Linux, drivers/usb/storage/usb.c: quirks[128])."""

_FILTER = (
    r"all|none|tryboot|(pi|cm)[0-9][0-9a-z+]*|EDID=[!-Z^-~]+|gpio\d{1,2}=[01]|0x[0-9a-fA-F]{1,16}"
    r"|board-type=0x[0-9a-f]{1,4}|boot_(count|partition)=\d{1,2}|HDMI:[01]"
)
"""Conditional filters of config.txt (raspberrypi.com): models, monitor, pin, serial number, board, partition, port."""
Filter = Annotated[str, of_form(_FILTER, "is no filter of config.txt such as all, pi4, gpio4=1 or EDID=VSC-TD2220")]

_PLACES = {
    "root": "pimu-build gives it: it names the node's own disk",
    "usb-storage.quirks": "say it by enclosure in boot.usb_quirks: the kernel takes one word of that name alone",
}
_PLACES["usb_storage.quirks"] = _PLACES["usb-storage.quirks"]


def _check_line(line: str) -> str:
    if line.startswith("["):
        raise ValueError(f"{line} is a filter; make it a key, such as pi4: [LINE]")
    if not (line.isascii() and line.isprintable()) or line != line.strip() or not line:
        raise ValueError("is not one line of printable ASCII, without blanks before and behind it")
    if len(line) > LONGEST_LINE:
        raise ValueError(f"has {len(line)} characters, and the firmware reads {LONGEST_LINE} of a line")
    return line


def _check_word(word: str) -> str:
    if not (word.isascii() and word.isprintable()) or not word or " " in word or '"' in word:
        raise ValueError("is not one word of printable ASCII, without blanks and quotes")
    if reason := _PLACES.get(word.partition("=")[0]):
        raise ValueError(f"{word} cannot stand here; {reason}")
    return word


def _check_quirks(quirks: dict[str, str]) -> dict[str, str]:
    if len(quirks_word(quirks).partition("=")[2]) > LONGEST_QUIRKS:
        raise ValueError(f"are more than the {LONGEST_QUIRKS} characters that the kernel reads")
    return quirks


def quirks_word(quirks: dict[str, str]) -> str:
    """The kernel word for `quirks`, letters by USB id."""
    return "usb-storage.quirks=" + ",".join(f"{enclosure}:{letters}" for enclosure, letters in quirks.items())


Lines = Annotated[tuple[Annotated[str, AfterValidator(_check_line)], ...], Field(strict=False)]
Word = Annotated[str, AfterValidator(_check_word)]
Quirks = Annotated[str, of_form("[a-hj-pr-uwy]+", "are not letters such as u (kernel-parameters, usb-storage.quirks)")]
"""The letters of Linux, drivers/usb/storage/usb.c, without `i`: it makes the kernel ignore the disk, and the Pi boots
from that disk."""


class Boot(Strict):
    config: dict[Filter, Lines] = Field(
        default={},
        description="Lines of config.txt by filter, such as pi4. The filter all matches every Pi.",
        examples=[{"all": ["dtoverlay=disable-wifi"], "pi4": ["gpu_mem=16"]}],
    )
    kernel_words: tuple[Word, ...] = Field(
        default=(),
        strict=False,
        description="Words to add to the kernel's command line.",
        examples=[["pcie_aspm=off"]],
    )
    usb_quirks: Annotated[dict[UsbId, Quirks], AfterValidator(_check_quirks)] = Field(
        default={},
        description="Quirks of USB enclosures by USB id (lsusb); u makes the kernel use no UAS.",
        examples=[{"152d:0578": "u"}],
    )


class BootKeys(Strict):
    boot: Boot | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Own lines of config.txt, own kernel words, and quirks of USB enclosures.",
        examples=[{"config": {"all": ["dtoverlay=disable-wifi"]}, "usb_quirks": {"152d:0578": "u"}}],
    )
