"""What a feature is told about the node, and the words in which it says what it wants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from builder.errors import ConfigurationError
from builder.model.edits import (
    DIRECTORY_MODE,
    FILE_MODE,
    SECRET_MODE,
    Blob,
    Edit,
    MakeDir,
    PatchText,
    PlaceBlob,
    Remove,
    Scope,
    Symlink,
    Volume,
    WriteFile,
    WriteSecret,
)
from builder.model.identity import Identity
from builder.model.overlays import OverlayFile
from builder.model.patches import NamedBlock, Patch, SecretRef
from builder.model.settings import Base, Guest, NodeSettings
from builder.profile import Origins
from builder.templates import render

UNITS = "/usr/lib/systemd/system"
LINKS = "/etc/systemd/system"
_WANTED_BY = re.compile(r"^WantedBy=(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Context:
    """`feature` is the name of the feature that asks, `overlays` the files of overlays/ by set (`features/swap`).

    `key` in the methods below is the setting that an edit follows from (`swap.size`), for its origin.
    """

    feature: str
    settings: NodeSettings
    base: Base
    guest: Guest | None
    identity: Identity
    origins: Origins
    overlays: Mapping[str, tuple[OverlayFile, ...]]

    def refuse(self, message: str, *, key: str, hint: str = "") -> ConfigurationError:
        return ConfigurationError(message, where=self.origins.of(key), hint=hint)

    # Files of overlays/ ---------------------------------------------------------------------------------------------

    def files(self, name: str) -> tuple[OverlayFile, ...]:
        """Those of overlays/features/NAME."""
        try:
            return self.overlays[f"features/{name}"]
        except KeyError:
            hint = f"the feature {self.feature} needs it; take it from the original project"
            raise ConfigurationError("is missing", where=f"overlays/features/{name}", hint=hint) from None

    def overlay(self, name: str, *, key: str, scope: Scope = "golden", **extra: object) -> Iterator[Edit]:
        """Every file of overlays/features/NAME, and its units enabled as their [Install] sections say.

        `extra` are template variables beside node, base, guest and identity.
        """
        for file in self.files(name):
            edit = self.overlay_file(file, scope=scope, origin=self.origins.of(key), **extra)
            yield edit
            if isinstance(edit, WriteFile) and edit.path.startswith(f"{UNITS}/"):
                for target in _WANTED_BY.findall(edit.content.decode()):
                    yield self.enable(edit.path.removeprefix(f"{UNITS}/"), wanted_by=target, key=key)

    def overlay_blocks(self, name: str, *, key: str, scope: Scope = "golden", **extra: object) -> Iterator[Edit]:
        """The files of overlays/features/NAME as blocks, named for the feature, in files that the base has."""
        for file in self.files(name):
            block = NamedBlock(self.feature, tuple(self.text(file, **extra).splitlines()))
            yield self.patch(file.path, block, volume=file.volume, key=key, scope=scope)

    def overlay_file(self, file: OverlayFile, *, scope: Scope, origin: str, **extra: object) -> Edit:
        if file.symlink_target is not None:
            return Symlink(
                volume=file.volume,
                path=file.path,
                scope=scope,
                feature=self.feature,
                origin=origin,
                target=file.symlink_target,
            )
        return WriteFile(
            volume=file.volume,
            path=file.path,
            scope=scope,
            feature=self.feature,
            origin=origin,
            content=self.text(file, **extra).encode() if file.is_template else file.content,
            mode=file.mode,
            uid=file.uid,
            gid=file.gid,
        )

    def text(self, file: OverlayFile, **extra: object) -> str:
        if not file.is_template:
            return file.text
        variables = {"node": self.settings, "base": self.base, "guest": self.guest, "identity": self.identity}
        return render(file.text, file.origin, {**variables, **extra})

    # Edits ----------------------------------------------------------------------------------------------------------

    def write(
        self,
        path: str,
        content: str,
        *,
        key: str,
        scope: Scope = "golden",
        mode: int = FILE_MODE,
        uid: int = 0,
        gid: int = 0,
    ) -> WriteFile:
        return WriteFile(
            volume="root",
            path=path,
            scope=scope,
            feature=self.feature,
            origin=self.origins.of(key),
            content=content.encode(),
            mode=mode,
            uid=uid,
            gid=gid,
        )

    def secret(self, path: str, secret: SecretRef, *, key: str, mode: int = SECRET_MODE) -> WriteSecret:
        return WriteSecret(
            volume="root",
            path=path,
            scope="node",
            feature=self.feature,
            origin=self.origins.of(key),
            secret=secret,
            mode=mode,
        )

    def place(self, path: str, blob: Blob, *, key: str, scope: Scope, mode: int, gid: int = 0) -> PlaceBlob:
        return PlaceBlob(
            volume="root",
            path=path,
            scope=scope,
            feature=self.feature,
            origin=self.origins.of(key),
            blob=blob,
            mode=mode,
            gid=gid,
        )

    def directory(self, path: str, *, key: str, mode: int = DIRECTORY_MODE, uid: int = 0, gid: int = 0) -> MakeDir:
        return MakeDir(
            volume="root",
            path=path,
            scope="golden",
            feature=self.feature,
            origin=self.origins.of(key),
            mode=mode,
            uid=uid,
            gid=gid,
        )

    def patch(
        self, path: str, patch: Patch, *, key: str, scope: Scope = "golden", volume: Volume = "root"
    ) -> PatchText:
        return PatchText(
            volume=volume, path=path, scope=scope, feature=self.feature, origin=self.origins.of(key), patch=patch
        )

    def symlink(self, path: str, target: str, *, key: str) -> Symlink:
        return Symlink(
            volume="root",
            path=path,
            scope="golden",
            feature=self.feature,
            origin=self.origins.of(key),
            target=target,
        )

    def remove(self, path: str, *, key: str) -> Remove:
        return Remove(volume="root", path=path, scope="golden", feature=self.feature, origin=self.origins.of(key))

    # Units ----------------------------------------------------------------------------------------------------------

    def enable(self, unit: str, *, wanted_by: str, key: str) -> Symlink:
        """What `systemctl enable` would make of `WantedBy=`; an instance (`getty@tty1.service`) links its template."""
        return self.symlink(wants_link(unit, wanted_by), f"{UNITS}/{re.sub('@.+[.]', '@.', unit)}", key=key)

    def disable(self, unit: str, *, wanted_by: str, key: str) -> Remove:
        return self.remove(wants_link(unit, wanted_by), key=key)

    def mask(self, *units: str, key: str) -> Iterator[Symlink]:
        """Never started, by nothing; stronger than disabled, which presets and other units can undo."""
        for unit in units:
            yield self.symlink(f"{LINKS}/{unit}", "/dev/null", key=key)


def wants_link(unit: str, wanted_by: str) -> str:
    return f"{LINKS}/{wanted_by}.wants/{unit}"
