"""The facts of a node that a feature reads, and the methods that make its edits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from builder.errors import ConfigurationError
from builder.features.firmware import ConfigLines, KernelCommand, When
from builder.features.keys import Keys, keys_of
from builder.features.variables import plain
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
    SetMode,
    Symlink,
    Volume,
    WriteFile,
    WriteSecret,
)
from builder.model.identity import Identity
from builder.model.overlays import OverlayFile
from builder.model.patches import KernelWords, NamedBlock, Patch, SecretRef
from builder.model.settings import Base, Guest, NodeSettings
from builder.profile import Origins
from builder.template.strict import Render

UNITS = "/usr/lib/systemd/system"
LINKS = "/etc/systemd/system"
AnyEdit = TypeVar("AnyEdit", bound=Edit)

_WANTED_BY = re.compile(r"^WantedBy=(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Context:
    """`feature` is the name of the feature that makes the edits. `overlays` has the files of overlays/ by set
    (`features/swap`). `render` fills in templates.

    `key` in the methods below is the setting that causes the edit (`swap.size`). The edit's origin names its place.
    """

    feature: str
    settings: NodeSettings
    base: Base
    guest: Guest | None
    identity: Identity
    origins: Origins
    overlays: Mapping[str, tuple[OverlayFile, ...]]
    render: Render

    def refuse(self, message: str, *, key: str, hint: str = "") -> ConfigurationError:
        return ConfigurationError(message, where=self.origins.of(key), hint=hint)

    def keys(self, kind: type[Keys]) -> Keys:
        """The node's settings as `kind`, the model of a feature's own keys."""
        return keys_of(self.settings, kind)

    # Files of overlays/ ---------------------------------------------------------------------------------------------

    def files(self, name: str) -> tuple[OverlayFile, ...]:
        """The files of overlays/features/NAME. Raises ConfigurationError when there are none."""
        try:
            return self.overlays[f"features/{name}"]
        except KeyError:
            hint = f"the feature {self.feature} needs it; take it from the original project"
            raise ConfigurationError("is missing", where=f"overlays/features/{name}", hint=hint) from None

    def overlay(self, name: str, *, key: str, scope: Scope = "golden", **extra: object) -> Iterator[Edit]:
        """Edits that write every file of overlays/features/NAME, and enable its units as their [Install] sections say.

        `extra` are template variables in addition to node, base, guest and identity.
        """
        for file in self.files(name):
            edit = self.overlay_file(file, scope=scope, origin=self.origins.of(key), **extra)
            yield edit
            if isinstance(edit, WriteFile) and edit.path.startswith(f"{UNITS}/"):
                for target in _WANTED_BY.findall(edit.content.decode()):
                    yield self.enable(edit.path.removeprefix(f"{UNITS}/"), wanted_by=target, key=key)

    def overlay_blocks(self, name: str, *, key: str, scope: Scope = "golden", **extra: object) -> Iterator[Edit]:
        """Edits that put each file of overlays/features/NAME, as a block named for the feature, into the base's
        file."""
        for file in self.files(name):
            block = NamedBlock(self.feature, tuple(self.text(file, **extra).splitlines()))
            yield self.patch(file.path, block, volume=file.volume, key=key, scope=scope)

    def overlay_file(self, file: OverlayFile, *, scope: Scope, origin: str, **extra: object) -> Edit:
        placed: dict[str, Any] = {"volume": file.volume, "scope": scope, "origin": origin}
        if file.symlink_target is not None:
            return self._edit(Symlink, file.path, **placed, target=file.symlink_target)
        content = self.text(file, **extra).encode() if file.is_template else file.content
        return self._edit(WriteFile, file.path, **placed, content=content, mode=file.mode, uid=file.uid, gid=file.gid)

    def text(self, file: OverlayFile, **extra: object) -> str:
        if not file.is_template:
            return file.text
        variables = {"node": self.settings, "base": self.base, "guest": self.guest, "identity": self.identity, **extra}
        return self.render(file.text, file.origin, {name: plain(value) for name, value in variables.items()})

    # Edits ----------------------------------------------------------------------------------------------------------

    def _edit(
        self,
        kind: type[AnyEdit],
        path: str,
        *,
        key: str = "",
        origin: str = "",
        scope: Scope = "golden",
        volume: Volume = "root",
        **facts: Any,
    ) -> AnyEdit:
        """An edit of this feature. `facts` are the fields that only this kind of edit has."""
        where = origin or self.origins.of(key)
        return kind(volume=volume, path=path, scope=scope, feature=self.feature, origin=where, **facts)

    def write(
        self, path: str, content: str, *, key: str, mode: int = FILE_MODE, uid: int = 0, gid: int = 0
    ) -> WriteFile:
        return self._edit(WriteFile, path, key=key, content=content.encode(), mode=mode, uid=uid, gid=gid)

    def secret(self, path: str, secret: SecretRef, *, key: str, mode: int = SECRET_MODE) -> Edit:
        return self._edit(WriteSecret, path, key=key, scope="node", secret=secret, mode=mode)

    def place(self, path: str, blob: Blob, *, key: str, scope: Scope, mode: int, gid: int = 0) -> Edit:
        return self._edit(PlaceBlob, path, key=key, scope=scope, blob=blob, mode=mode, gid=gid)

    def directory(self, path: str, *, key: str, mode: int = DIRECTORY_MODE, uid: int = 0, gid: int = 0) -> Edit:
        return self._edit(MakeDir, path, key=key, mode=mode, uid=uid, gid=gid)

    def set_mode(self, path: str, mode: int, *, key: str, uid: int = 0, gid: int = 0) -> Edit:
        return self._edit(SetMode, path, key=key, mode=mode, uid=uid, gid=gid)

    def patch(self, path: str, patch: Patch, *, key: str, scope: Scope = "golden", volume: Volume = "root") -> Edit:
        return self._edit(PatchText, path, key=key, scope=scope, volume=volume, patch=patch)

    def symlink(self, path: str, target: str, *, key: str) -> Edit:
        return self._edit(Symlink, path, key=key, target=target)

    def remove(self, path: str, *, key: str) -> Edit:
        return self._edit(Remove, path, key=key)

    # The Pi's boot texts --------------------------------------------------------------------------------------------

    def config_txt(self, lines: Iterable[str], *, key: str, scope: Scope = "golden") -> ConfigLines:
        """Lines for config.txt, on every base. They stay there after a kernel update on the Pi."""
        return ConfigLines(feature=self.feature, origin=self.origins.of(key), scope=scope, lines=tuple(lines))

    def kernel_words(
        self, words: KernelWords, *, key: str, scope: Scope = "golden", when: When = "always"
    ) -> KernelCommand:
        return KernelCommand(feature=self.feature, origin=self.origins.of(key), scope=scope, words=words, when=when)

    # Units ----------------------------------------------------------------------------------------------------------

    def enable(self, unit: str, *, wanted_by: str, key: str) -> Edit:
        """The link that `systemctl enable` makes for `WantedBy=`. The link of an instance (`getty@tty1.service`) leads
        to its template."""
        return self.symlink(wants_link(unit, wanted_by), f"{UNITS}/{re.sub('@.+[.]', '@.', unit)}", key=key)

    def disable(self, unit: str, *, wanted_by: str, key: str) -> Edit:
        return self.remove(wants_link(unit, wanted_by), key=key)

    def mask(self, *units: str, key: str) -> Iterator[Edit]:
        """Links to /dev/null, so that nothing starts these units. Presets and other units can undo a mere `disable`."""
        for unit in units:
            yield self.symlink(f"{LINKS}/{unit}", "/dev/null", key=key)


def wants_link(unit: str, wanted_by: str) -> str:
    return f"{LINKS}/{wanted_by}.wants/{unit}"
