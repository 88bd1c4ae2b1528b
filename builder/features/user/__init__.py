"""The account of the node's one user: uid 1000, ssh keys, sudo without a password, and the profile's password if
any."""

from __future__ import annotations

from collections.abc import Iterator

from builder.features import guest
from builder.features.context import Context
from builder.features.feature import Feature
from builder.model.edits import Edit
from builder.model.patches import GroupMember, Record, SecretRef, Substitute

ID = 1000
_NO_PASSWORD = "*"  # noqa: S105 - not "!": sshd takes it for a locked account and refuses keys too
_AGEING = ("", "0", "99999", "7", "", "", "")
# fmt: off
_TAKEN = frozenset((
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data",
    "backup", "list", "irc", "nobody", "adm", "tty", "disk", "kmem", "dialout", "fax", "voice", "cdrom", "floppy",
    "tape", "sudo", "audio", "dip", "operator", "src", "shadow", "utmp", "video", "sasl", "plugdev", "staff",
    "users", "nogroup",
))
# fmt: on
"""Users and groups of every Debian (base-passwd). An account of such a name with uid 1000 would break the system."""


def edits(context: Context) -> Iterator[Edit]:
    user = context.settings.user
    name, home = user.name, f"/home/{user.name}"
    if name in _TAKEN or name in context.base.groups or name == guest.USER:
        raise context.refuse(
            f"{name} is an account or group of the system", key="user.name", hint="choose another name"
        )
    if context.base.first_user == "pi":
        yield from _take_over_from_pi(context)
    passwd = Record((name, "x", str(ID), str(ID), "", home, "/bin/bash"))
    yield context.patch("/etc/passwd", passwd, key="user.name")
    yield context.patch("/etc/group", Record((name, "x", str(ID), "")), key="user.name")
    yield context.patch("/etc/gshadow", Record((name, "!", "", "")), key="user.name")
    yield context.patch("/etc/shadow", Record((name, _NO_PASSWORD, *_AGEING)), key="user.name")
    if user.password is not None:
        secret = Record((name, SecretRef(user.password), *_AGEING))
        yield context.patch("/etc/shadow", secret, key="user.password", scope="node")
    for group in context.base.groups:
        for database in ("/etc/group", "/etc/gshadow"):
            yield context.patch(database, GroupMember(group, name), key="base.groups")
    keys = "".join(f"{key}\n" for key in user.ssh_keys)
    yield context.directory(home, key="user.name", mode=0o700, uid=ID, gid=ID)
    yield context.directory(f"{home}/.ssh", key="user.name", mode=0o700, uid=ID, gid=ID)
    yield context.write(f"{home}/.ssh/authorized_keys", keys, key="user.ssh_keys", mode=0o600, uid=ID, gid=ID)
    yield from context.overlay("user", key="user.name")


def _take_over_from_pi(context: Context) -> Iterator[Edit]:
    """Raspberry Pi OS has the user `pi` with uid 1000 and no password, and a wizard instead of a login on tty1.

    The old home stays, with its files from /etc/skel.
    """
    name = context.settings.user.name
    if name != "pi":
        word = Substitute(r"(?<![^:,\n])pi(?![^:,\n])", name, optional=True)
        for database in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"):
            yield context.patch(f"/etc/{database}", word, key="user.name")
    yield context.remove("/etc/sudoers.d/010_pi-nopasswd", key="user.name")
    yield context.remove("/etc/ssh/sshd_config.d/rename_user.conf", key="user.name")
    yield from context.mask("userconfig.service", key="user.name")
    yield context.enable("getty@tty1.service", wanted_by="getty.target", key="user.name")


FEATURE = Feature(name="user", order=40, package=__name__, edits=edits)
