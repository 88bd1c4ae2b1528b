"""Content-addressed files: `sha256/<hex>`, complete or absent. A name is made by rename after the hash was checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.errors import DamagedError
from builder.host.file_lock import held
from builder.host.free_space import told_when_full


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Cache:
    root: Path

    @property
    def files(self) -> Path:
        return self.root / "sha256"

    def path(self, sha256: str) -> Path:
        return self.files / sha256

    def holds(self, sha256: str, size: int | None) -> bool:
        """Whether the file is there with its size: after a power cut a right name may hold too few bytes. Where nobody
        knows the size, it is hashed."""
        path = self.path(sha256)
        if size is None:
            return path.is_file() and sha256_of(path) == sha256
        return path.is_file() and path.stat().st_size == size

    def use(self, sha256: str, size: int | None) -> bool:
        """`holds`, and remember when: a file that was not used for long may be pruned."""
        held = self.holds(sha256, size)
        if held:
            with suppress(PermissionError):  # another user's file in a shared cache
                os.utime(self.path(sha256))
        return held

    def require_whole(self, *sha256s: str) -> None:
        """For who is about to read these files altogether. Raises DamagedError."""
        for sha256 in sha256s:
            if sha256_of(self.path(sha256)) != sha256:
                raise DamagedError(str(self.path(sha256)))

    def remove_damaged(self, sha256: str) -> None:
        """Another build may have done so by now, and have fetched it anew."""
        path = self.path(sha256)
        with held(path.with_suffix(".lock")):
            if path.is_file() and sha256_of(path) != sha256:
                path.unlink()

    def take_in(self, file: Path, sha256: str) -> None:
        """A copy of a file with this hash. Raises DiskFullError."""
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        with held(target.with_suffix(".lock")), told_when_full(self.root, "make room, or set PIMU_CACHE"):
            part = target.with_suffix(".part")
            try:
                shutil.copyfile(file, part)
                part.rename(target)
            finally:
                part.unlink(missing_ok=True)

    def entries(self) -> Iterator[Path]:
        if self.files.is_dir():
            yield from sorted(path for path in self.files.iterdir() if len(path.name) == 64)

    def damaged(self) -> Iterator[Path]:
        """Every file whose content does not agree with its name."""
        return (path for path in self.entries() if sha256_of(path) != path.name)
