"""Words that each helper of setup-alpine understands, by version, with its questions and actions.

From alpine-conf's sources and manual pages. `conf` is its version, such as (3, 15).
"""

from __future__ import annotations

import getopt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Given:
    conf: tuple[int, int]
    options: Mapping[str, str]
    operands: Sequence[str]
    environment: Mapping[str, str]

    @property
    def operand(self) -> str:
        return " ".join(self.operands)


@dataclass(frozen=True)
class Outcome:
    """`asks`: what nobody is there to answer. `harm`: what is done and should not be."""

    asks: str = ""
    does: str = ""
    harm: str = ""


def keymap(given: Given) -> Outcome:
    if not given.operands or (given.operand == "none" and given.conf < (3, 15)):
        return Outcome(asks="Select keyboard layout")
    return Outcome(does=f"keymap {given.operand}")


def hostname(given: Given) -> Outcome:
    name = given.options.get("-n") or given.operand
    if not name:
        return Outcome(asks="Enter system hostname")
    valid = re.fullmatch(r"[0-9a-z][0-9a-z-]*", name)
    return Outcome(does=f"host name {name}") if valid else Outcome(harm="refuses the host name")


def devd(given: Given) -> Outcome:
    return Outcome(does=f"devices by {given.options.get('-C') or given.operand}")


def interfaces(given: Given) -> Outcome:
    return Outcome() if "-i" in given.options else Outcome(asks="Which one do you want to initialize?")


def timezone(given: Given) -> Outcome:
    zone = given.options.get("-z") or (given.operand if given.conf >= (3, 14) else "")
    if not zone or (zone == "none" and given.conf < (3, 15)):
        return Outcome(asks="Which timezone are you in?")
    return Outcome(does=f"time zone {zone}")


def apkrepos(given: Given) -> Outcome:
    if not given.operands and not given.options:
        return Outcome(asks="Enter mirror number or URL")
    fetches = "" if given.environment.get("MIRRORS") else "fetches the list of all mirrors"
    return Outcome(does=f"packages of {' and '.join(given.operands)}", harm=fetches)


def user(given: Given) -> Outcome:
    if "-h" in given.options:
        return Outcome(does="prints its usage")
    if given.operand == "none" and not given.options and given.conf >= (3, 15):
        return Outcome()
    return Outcome(harm=f"makes the account {given.operand}") if given.operands else Outcome(asks="Setup a user?")


def sshd(given: Given) -> Outcome:
    by_option = given.options.get("-c", "") if given.conf != (3, 14) else ""
    server = (given.operand if given.conf >= (3, 14) else "") or by_option
    keys = (given.options.get("-k") or given.environment.get("SSH_KEY", "none")).splitlines()
    count = 0 if keys == ["none"] else len(keys)
    return Outcome(does=f"{server} with {count} keys of root's") if server else Outcome(asks="Which ssh server?")


def ntp(given: Given) -> Outcome:
    client = given.options.get("-c") if given.conf < (3, 14) else given.operand
    if not client:
        return Outcome(asks="Which NTP client to run?")
    waits = client != "none" and given.conf >= (3, 19)
    return Outcome(does=f"NTP client {client}", harm="waits for the right time without end" if waits else "")


def disk(given: Given) -> Outcome:
    if "-m" not in given.options or not given.operands or given.operand == "none":
        return Outcome(asks="Which disk(s) would you like to use?", harm="installs nothing, and ends well")
    if given.environment.get("ERASE_DISKS") != given.operand:
        question = "WARNING: Erase the above disk(s) and continue?"
        return Outcome(asks=question, harm="installs nothing, and ends well")
    return Outcome(does=f"{given.options['-m']} on {given.operand}")


def needs_an_operand(question: str) -> Callable[[Given], Outcome]:
    return lambda given: Outcome() if given.operands else Outcome(asks=question)


@dataclass(frozen=True)
class Helper:
    """`letters` are its options for getopt(3), `reads` the variables that it takes from the environment."""

    letters: str
    judge: Callable[[Given], Outcome]
    reads: tuple[str, ...] = field(default=())


HELPERS = {
    "setup-keymap": Helper("h", keymap),
    "setup-hostname": Helper("hn:", hostname),
    "setup-devd": Helper("hC:", devd),
    "setup-interfaces": Helper("hiarw:", interfaces),
    "setup-dns": Helper("hd:n:", needs_an_operand("DNS nameserver(s)?")),
    "setup-timezone": Helper("hikz:", timezone),
    "setup-proxy": Helper("hq", needs_an_operand("HTTP/FTP proxy URL?")),
    "setup-ntp": Helper("hc:", ntp),
    "setup-apkrepos": Helper("1fhr", apkrepos, ("MIRRORS",)),
    "setup-user": Helper("af:g:hk:u", user),
    "setup-sshd": Helper("hc:k:", sshd, ("SSH_KEY",)),
    "setup-disk": Helper(
        "hLqrvem:o:s:w:k:",
        disk,
        ("ERASE_DISKS", "BOOTLOADER", "KERNELOPTS", "BOOT_SIZE", "SWAP_SIZE", "DISKLABEL", "USE_EFI"),
    ),
    "setup-lbu": Helper("h", needs_an_operand("Enter where to store configs")),
    "setup-apkcache": Helper("h", needs_an_operand("Enter apk cache directory")),
}


def judge(name: str, words: Sequence[str], environment: Mapping[str, str], conf: tuple[int, int]) -> Outcome:
    try:
        options, operands = getopt.getopt(list(words), HELPERS[name].letters)
    except getopt.GetoptError as error:
        return Outcome(harm=f"refuses its words: {error}")
    return HELPERS[name].judge(Given(conf, dict(options), operands, environment))
