"""The differences between two images, by their manifests, or between two plans.

Each difference names the profile's line that asked for it. Another line number alone is no difference: a comment in a
profile moves all lines below it, but changes no byte of an image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from builder import limits
from builder.errors import ConfigurationError
from builder.model.lock import Resolution, of_data
from builder.model.manifest import FileState, ImageFacts, Manifest
from builder.model.strict_json import parse_json

Kind = Literal["setting", "package", "edit", "seed", "file", "lock", "partition", "image"]
_ASKED = ("feature", "origin")
_FACTS = ("type", "mode", "uid", "gid", "sha256", "size", "target")
_MOST_NAMES = 100
"""The number of lines that are shown; more are counted only."""
_REMEDY = "take an image with its manifest, a manifest, or the output of `pimu-build plan NODE --json`"


class _Edit(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str
    volume: str
    path: str
    feature: str
    origin: str


class _SeedFile(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    origin: str


class _Plan(BaseModel):
    """A plan, with the keys of builder.plan.as_data."""

    settings: dict[str, Any] = {}
    base: dict[str, Any] = {}
    guest: dict[str, Any] | None = None
    identity: dict[str, Any] = {}
    layout: dict[str, Any] = {}
    packages: list[str] = []
    base_edits: list[_Edit] = []
    guest_edits: list[_Edit] = []
    installer_edits: list[_Edit] = []
    edits: list[_Edit] = []
    seed: list[_SeedFile] = []


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two sides, from the file `where`: its plan, and the manifest if the file is one."""

    where: str
    plan: _Plan
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class Difference:
    """`what` of `where` is `a` on one side and `b` on the other; None means absent. `asked` names the feature and the
    profile that set the value, if any."""

    kind: Kind
    where: str
    what: str
    a: Any
    b: Any
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`chunks` of `all_chunks` differ; both are 0 unless both sides are images. `behind` names the files in these
    chunks, if both images could be read."""

    differences: tuple[Difference, ...]
    chunks: int
    all_chunks: int
    behind: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return not self.differences and not self.chunks


def side_of(text: str, where: str) -> Side:
    """Parse the text of a manifest or a plan. Raises ConfigurationError, at `where`, when it is neither."""
    try:
        data = parse_json(text, deepest=limits.JSON_LEVELS)
    except ValueError as broken:
        raise _refusal(f"is not JSON: {broken}", where) from broken
    if not isinstance(data, dict) or not ({"image", "plan"} <= data.keys() or {"settings", "edits"} <= data.keys()):
        raise _refusal("is neither a manifest nor a plan", where)
    manifest = Manifest.from_json(text, where) if "plan" in data else None
    try:
        return Side(where, _Plan.model_validate(data if manifest is None else manifest.plan), manifest)
    except ValidationError as broken:
        first = broken.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise _refusal(f"is not a plan of this version: {key}: {first['msg']}", where) from broken


def compare(a: Side, b: Side) -> Comparison:
    """The differences from `a` to `b`. Raises ConfigurationError when the lock in a manifest is damaged."""
    found = [*_settings(a.plan, b.plan), *_packages(a.plan.packages, b.plan.packages)]
    both = [("base", a.plan.base_edits, b.plan.base_edits), ("guest", a.plan.guest_edits, b.plan.guest_edits)]
    both.append(("live", a.plan.installer_edits, b.plan.installer_edits))
    if a.manifest is None or b.manifest is None:
        both.append(("pi", a.plan.edits, b.plan.edits))
    found += [one for place, of_a, of_b in both for one in _edits(place, of_a, of_b)]
    found += _seed(a.plan.seed, b.plan.seed)
    if a.manifest is None or b.manifest is None:
        return Comparison(tuple(found), 0, 0)
    found += _files(a.manifest.files, b.manifest.files)
    found += _locks(a.manifest.lock, b.manifest.lock, a.where, b.where)
    found += _flat("partition", "disk", a.manifest.layout.model_dump(), b.manifest.layout.model_dump())
    of_a, of_b = a.manifest.image, b.manifest.image
    found += _flat("image", "image", _image_facts(of_a), _image_facts(of_b))
    return Comparison(tuple(found), len(differing_chunks(a, b)), max(len(of_a.chunks), len(of_b.chunks)))


def differing_chunks(a: Side, b: Side) -> list[int]:
    """Numbers of the chunks in which two images differ. A chunk that only one image has counts too."""
    if a.manifest is None or b.manifest is None:
        return []
    pairs = zip_longest(a.manifest.image.chunks, b.manifest.image.chunks)
    return [number for number, (one, other) in enumerate(pairs) if one != other]


def to_lines(comparison: Comparison) -> Iterator[str]:
    """Lines `KIND WHERE: WHAT A -> B  [FEATURE]  ORIGIN`, then the number of differing chunks and their files."""
    for one in comparison.differences:
        asked = f"  {one.asked}" if one.asked else ""
        if one.a is None or one.b is None:
            side, value = ("B", one.b) if one.a is None else ("A", one.a)
            change = f"{one.what} {_short(value)}, only in {side}"
        else:
            change = f"{one.what} {_short(one.a)} -> {_short(one.b)}"
        yield f"{one.kind:9}  {one.where}: {change}{asked}"
    if comparison.chunks:
        yield f"{'image':9}  {comparison.chunks} of {comparison.all_chunks} chunks differ"
        yield from (f"{'chunks':9}  {name}" for name in comparison.behind[:_MOST_NAMES])
        if len(comparison.behind) > _MOST_NAMES:
            yield f"{'chunks':9}  and {len(comparison.behind) - _MOST_NAMES} files more (--json names them)"


def _settings(a: _Plan, b: _Plan) -> Iterator[Difference]:
    for name in ("settings", "base", "guest", "identity", "layout"):
        yield from _flat("setting", name, getattr(a, name), getattr(b, name))


def _packages(a: Sequence[str], b: Sequence[str]) -> Iterator[Difference]:
    for name in sorted({*a} ^ {*b}):
        yield Difference("package", name, "is", "wanted" if name in a else None, "wanted" if name in b else None)


def _edits(place: str, a: Sequence[_Edit], b: Sequence[_Edit]) -> Iterator[Difference]:
    """Differences of edits, path by path. If a path is edited several times, the order of its edits counts."""
    of_a, of_b = (_grouped(edits, lambda edit: f"{place} {edit.volume}:{edit.path}") for edits in (a, b))
    for where in sorted({*of_a, *of_b}):
        old, new = of_a.get(where, []), of_b.get(where, [])
        asked = _asked((new or old)[-1])
        left, right = ([_without_askers(edit) for edit in edits] for edits in (old, new))
        if len(left) == len(right) == 1:
            yield from _flat("edit", where, left[0], right[0], asked)
        elif left != right:
            yield Difference("edit", where, "is", left or None, right or None, asked)


def _seed(a: Sequence[_SeedFile], b: Sequence[_SeedFile]) -> Iterator[Difference]:
    of_a, of_b = ({file.name: file for file in files} for files in (a, b))
    for name in sorted({*of_a, *of_b}):
        left, right = (_without_askers(files[name]) if name in files else None for files in (of_a, of_b))
        origin = (of_b.get(name) or of_a[name]).origin
        yield from _flat("seed", name, left, right, f"[guest]  {origin}")


def _files(a: Sequence[FileState], b: Sequence[FileState]) -> Iterator[Difference]:
    of_a, of_b = ({f"{file.volume}:{file.path}": file for file in files} for files in (a, b))
    for where in sorted({*of_a, *of_b}):
        left, right = (_file_facts(files.get(where)) for files in (of_a, of_b))
        asked = _asked(of_b.get(where) or of_a[where])
        if left is None or right is None:
            yield Difference("file", where, "is", left, right, asked)
        else:
            yield from _flat("file", where, left, right, asked)


def _locks(a: Mapping[str, Any], b: Mapping[str, Any], where_a: str, where_b: str) -> Iterator[Difference]:
    for name in sorted({*a, *b}):
        if name not in a or name not in b:
            yield Difference("lock", name, "is", "locked" if name in a else None, "locked" if name in b else None)
            continue
        left, right = of_data(a[name], f"{where_a}: {name}"), of_data(b[name], f"{where_b}: {name}")
        if isinstance(left, Resolution) and isinstance(right, Resolution):
            yield from _resolutions(name, left, right)
        else:
            yield from _flat("lock", name, a[name], b[name])


def _resolutions(name: str, a: Resolution, b: Resolution) -> Iterator[Difference]:
    """Differences of two resolutions. A package with the same version but other bytes is shown with its sha256."""
    of_a, of_b = ({f"{deb.name}:{deb.architecture}": deb for deb in one.debs} for one in (a, b))
    for key in sorted({*of_a, *of_b}):
        left, right = of_a.get(key), of_b.get(key)
        is_rebuilt = left is not None and right is not None and left.version == right.version
        old, new = (None if deb is None else deb.sha256 if is_rebuilt else deb.version for deb in (left, right))
        if old != new:
            yield Difference("lock", f"{name}: {key}", "is", old, new)
    for field in ("request", "epoch", "essential", "removed"):
        old, new = getattr(a, field), getattr(b, field)
        if old != new:
            yield Difference("lock", name, field, old, new)


def _flat(
    kind: Kind, where: str, a: Mapping[str, Any] | None, b: Mapping[str, Any] | None, asked: str = ""
) -> Iterator[Difference]:
    """The differing keys of nested mappings, each as a path with dots."""
    if a is None or b is None:
        if a != b:
            yield Difference(kind, where, "is", a, b, asked)
        return
    for key in sorted({*a, *b}):
        old, new = a.get(key), b.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _flat(kind, f"{where}.{key}", old, new, asked)
        elif old != new:
            yield Difference(kind, where, key, old, new, asked)


def _grouped(edits: Sequence[_Edit], key: Callable[[_Edit], str]) -> dict[str, list[_Edit]]:
    groups: dict[str, list[_Edit]] = {}
    for edit in edits:
        groups.setdefault(key(edit), []).append(edit)
    return groups


def _without_askers(one: _Edit | _SeedFile) -> dict[str, Any]:
    return {key: value for key, value in one.model_dump().items() if key not in _ASKED}


def _file_facts(file: FileState | None) -> dict[str, Any] | None:
    if file is None:
        return None
    facts = {key: getattr(file, key) for key in _FACTS if getattr(file, key) is not None}
    return facts | ({} if file.mode is None else {"mode": f"{file.mode:04o}"})


def _asked(one: _Edit | FileState) -> str:
    return f"[{one.feature}]  {one.origin}"


def _image_facts(image: ImageFacts) -> dict[str, Any]:
    return image.model_dump(exclude={"chunks", "allocated"})


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 48 else f"{text[:12]}…" if text.isalnum() else f"{text[:44]} …"


def _refusal(reason: str, where: str) -> ConfigurationError:
    return ConfigurationError(reason, where=where, hint=_REMEDY)
