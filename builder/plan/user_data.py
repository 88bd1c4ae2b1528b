"""Read a guest's name and accounts from user-data and meta-data, or raise errors with file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from builder.model.cloud_config import CloudConfig, CloudUser, MetaData
from builder.model.guest_seed import Account
from builder.model.settings import Guest
from builder.profile import Document, Problem, nearest, refuse, validate

_DEFAULT = "default"
_EXTRA = frozenset({"bootcmd", "packages", "runcmd", "write_files"})
_FOR_ALL = tuple(key for key in CloudConfig.model_fields if key not in _EXTRA)
_SYSTEM = frozenset(
    [
        *("root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data"),
        *("backup", "list", "irc", "nobody", "adm", "shutdown", "halt", "operator", "ftp", "guest", "sshd", "ntp"),
        *("chrony", "_chrony", "messagebus", "systemd-network", "systemd-timesync", "_apt", "klogd", "cron", "at"),
    ]
)
"""Accounts of Debian's base-passwd, of Alpine's alpine-baselayout, and of the guests' packages."""
_LOST_BEHIND_ITS_LINE = re.compile(r"\s*(cd|export|umask|ulimit|set|unset|alias|[A-Za-z_]\w*=\S*)(\s[^;&|\n]*)?\Z")


def accounts(document: Document, guest: Guest, guest_name: str, default_user: str) -> tuple[Account, ...]:
    """The accounts of user-data. `default_user` is the name of the account that cloud-init calls `default`.

    Raises ConfigurationError for a key that the guest does not act on, and when no account has an ssh key.
    """
    _refuse_what_the_guest_lacks(document, guest, guest_name)
    config = validate(CloudConfig, document)
    found = _accounts(config, default_user)
    problems = [*_account_problems(document, config, found), *_lost_commands(document, config)]
    if problems:
        refuse(problems)
    return tuple(found)


def full_name(user_data: Document, meta_data: Document, expected: str) -> str | None:
    """The guest's name with its domain, or None if no key has a domain. `expected` is the guest's name in the plan.

    cloud-init prefers `hostname` over `fqdn` of user-data, and both over local-hostname of meta-data. Raises
    ConfigurationError when one of them has another name than `expected`.
    """
    validate(MetaData, meta_data)
    keys = [(meta_data, "local-hostname"), (user_data, "hostname"), (user_data, "fqdn")]
    full = None
    for document, key in keys:
        name = document.data.get(key)
        if name is None:
            continue
        if name.partition(".")[0] != expected:
            text = f"{key}: is {name}, and the guest's name is {expected}"
            hint = "guest_hostname in the node's file sets it, for the router and the cluster too"
            refuse([Problem(document.origins.mark(key), text, hint)])
        full = name if "." in name else full
    return full


def _refuse_what_the_guest_lacks(document: Document, guest: Guest, guest_name: str) -> None:
    known = (*_FOR_ALL, *guest.user_data)
    unknown = [key for key in document.data if key not in known]
    if unknown:
        text = f"the guest {guest_name} does not act on it"
        refuse(Problem(document.origins.mark(key), f"{key}: {text}", nearest(key, known)) for key in unknown)


def _accounts(config: CloudConfig, default_user: str) -> list[Account]:
    """The accounts in the order of `users`. A named account replaces the default account of the same name."""
    default, named = config.user or default_user, [user for user in config.users if isinstance(user, CloudUser)]
    found = []
    for user in config.users:
        if isinstance(user, CloudUser):
            shared = config.ssh_authorized_keys if user.name == default and _DEFAULT in config.users else ()
            keys = (*user.ssh_authorized_keys, *user.older_keys, *shared)
            unique = tuple(dict.fromkeys(keys))
            found.append(Account(user.name, unique, user.sudo, user.shell, user.gecos, user.groups))
        elif default not in [other.name for other in named]:
            found.append(Account(default, config.ssh_authorized_keys, is_root=True))
    return found


def _account_problems(document: Document, config: CloudConfig, found: Sequence[Account]) -> Iterator[Problem]:
    mark = document.origins.mark
    names = [account.name for account in found]
    for index, user in enumerate(config.users):
        if isinstance(user, CloudUser) and user.name in _SYSTEM:
            hint = "an account of your own can become root by `sudo`"
            yield Problem(mark(f"users.{index}.name"), f"users.{index}.name: {user.name} is the system's own", hint)
    if config.user in _SYSTEM:
        yield Problem(mark("user"), f"user: {config.user} is the system's own account")
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(mark("users"), f"users: names {name} twice")
    if not found:
        yield Problem(mark("users"), "users: is empty, so the guest has no account", "name one with its ssh keys")
    elif not any(account.keys for account in found):
        text = f"no account has an ssh key, so nobody gets in: {', '.join(names)}"
        yield Problem(mark("users"), text, "put ssh_authorized_keys below the account's name")
    if config.user is not None and _DEFAULT not in config.users:
        text = f"user: {config.user} renames the account `default`, which users does not list"
        yield Problem(mark("user"), text, "take it out, or list `default`")
    if config.ssh_authorized_keys and _DEFAULT not in config.users:
        text = "ssh_authorized_keys: are those of the account `default`, which users does not list"
        yield Problem(mark("ssh_authorized_keys"), text, "put them below an account of users")


def _lost_commands(document: Document, config: CloudConfig) -> Iterator[Problem]:
    """Problems of commands that only change the shell. cloud-init runs all lines as one script, tiny-cloud starts a
    shell for each line."""
    for key, commands in (("bootcmd", config.bootcmd), ("runcmd", config.runcmd)):
        for index, command in enumerate(commands[:-1]):
            if _LOST_BEHIND_ITS_LINE.match(command):
                text = f"{key}.{index}: each command has a shell of its own, so this one changes nothing for the next"
                yield Problem(document.origins.mark(f"{key}.{index}"), text, "join them by && into one")
