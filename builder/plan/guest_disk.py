"""The guest's disk as edits: the files that are laid over its system, and what its installer is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from builder.errors import ConfigurationError
from builder.features.context import Context
from builder.model.edits import Edit
from builder.model.overlays import OverlayFile
from builder.model.patches import Substitute
from builder.model.plan import GuestDisk
from builder.model.settings import Guest
from builder.model.sources import CloudImageSource, InstallerSource
from builder.plan.answers import DISK, answers
from builder.plan.own_files import own_files

ANSWERS = "/etc/pimu-answers"
_HOST_KEYS = [f"/etc/ssh/ssh_host_{kind}_key{half}" for kind in ("rsa", "ecdsa", "ed25519") for half in ("", ".pub")]


def guest_disk(context: Context, template: OverlayFile | None) -> GuestDisk | None:
    """Its files are the same for every node, as it has no identity. `template` is that of an installer's answers."""
    guest = context.guest
    if guest is None:
        return None
    asking = replace(context, feature="guest")
    edits = [*own_files(asking, "features/bench")]
    edits += [edit for name in guest.overlays for edit in _overlay(asking, f"guests/{name}")]
    if not isinstance(guest.source, InstallerSource | CloudImageSource):
        return GuestDisk(context.settings.guest, guest.disk, guest.kernel_words is not None, tuple(edits))
    return GuestDisk(
        context.settings.guest,
        guest.disk,
        has_kernel=False,
        edits=(*edits, *_adapted(asking, guest.source)),
        installer=tuple(_installer(asking, guest, template)),
        root_keys=context.settings.user.ssh_keys if isinstance(guest.source, InstallerSource) else (),
    )


def _adapted(context: Context, source: InstallerSource | CloudImageSource) -> Iterator[Edit]:
    """A system that others have put together, as a guest that many nodes share."""
    for path in _HOST_KEYS:
        yield context.remove(path, key="guest")
    yield context.remove("/etc/runlevels/boot/networking", key="guest")  # pimu-network takes its place
    yield context.patch("/etc/shadow", Substitute("^root:[^:]*:", "root:*:"), key="guest")
    # What is freed goes back to the SSD; and what was never written reads as zeros, and need not be written as zeros.
    options = r"\1rw,noatime,discard,noinit_itable\2"
    yield context.patch("/etc/fstab", Substitute(r"^(\S+[ \t]+/[ \t]+ext4[ \t]+)\S+(.*)$", options), key="guest")
    if isinstance(source, CloudImageSource):
        serial = Substitute(r"^(\s*APPEND\s(?!.*console=ttyS0).*)$", r"\1 console=ttyS0,115200", optional=True)
        yield context.patch("/boot/extlinux.conf", serial, key="guest")
        # The Pi keeps what the guest says on its serial line, for whoever asks why it does not come.
        telling = Substitute(r"^(\s*APPEND\s.*?)\s+quiet\b(.*)$", r"\1\2", optional=True)
        yield context.patch("/boot/extlinux.conf", telling, key="guest")
        # A busy emulator's kernel would blame this clock, and go on with a slower one (profiles/guests/debian.yaml).
        yield context.patch("/boot/extlinux.conf", Substitute(r"^(\s*APPEND\s.*)$", r"\1 tsc=reliable"), key="guest")


def _installer(context: Context, guest: Guest, template: OverlayFile | None) -> Iterator[Edit]:
    if not isinstance(guest.source, InstallerSource):
        return
    name = context.settings.guest
    if template is None:
        hint = f"the guest {name} is installed with it; take it from the original project"
        raise ConfigurationError("is missing", where="cloud-init/answers.j2", hint=hint)
    if guest.answer_dialect is None:
        raise context.refuse(f"nobody answers the installer of guest {name}: its profile has no `answers`", key="guest")
    yield from _overlay(context, "installers/alpine", disk=DISK)
    text = answers(
        template,
        guest,
        hostname=name,
        ssh_keys=context.settings.user.ssh_keys,
        timezone=context.settings.timezone,
        render=context.render,
    )
    yield replace(context.write(ANSWERS, "", key="guest", mode=0o600), content=text)


def _overlay(context: Context, name: str, **variables: object) -> Iterator[Edit]:
    if name not in context.overlays:
        raise context.refuse(f"there are no files for guest {context.settings.guest} in overlays/{name}", key="guest")
    yield from own_files(context, name, **variables)
