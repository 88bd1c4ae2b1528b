"""Show a plan to people, with one line per edit, and to programs, as JSON. The JSON has digests instead of contents,
and references instead of secrets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

from builder.model.edits import Edit, PatchText
from builder.model.plan import Plan, SeedFile


def to_lines(plan: Plan) -> Iterator[str]:
    """Lines `WHERE  WHAT  [FEATURE]  ORIGIN`, then the notes."""
    if plan.packages:
        yield f"golden  install {' '.join(plan.packages)}  [packages]  {plan.packages_origin}"
    for where, edit in _edits(plan):
        yield f"{where:6}  {edit.describe()}  [{edit.feature}]  {edit.origin}"
    for file in plan.seed:
        what = f"{len(file.content)} bytes" if file.secret is None else f"<{file.secret.describe()}>"
        yield f"node    seed {file.name} {what}  [guest]  {file.origin}"
    for note in plan.notes:
        yield f"note    {note.text}  [{note.feature}]"


def _edits(plan: Plan) -> Iterator[tuple[str, Edit]]:
    """Each edit with the name of its target: base, live (the system that installs the guest), guest (its disk), golden
    (the role's image) or node (the node's image)."""
    yield from (("base", edit) for edit in plan.base_edits)
    if plan.guest_disk is not None:
        yield from (("live", edit) for edit in plan.guest_disk.installer)
        yield from (("guest", edit) for edit in plan.guest_disk.edits)
    yield from ((edit.scope, edit) for edit in plan.edits)


_SIGNER_KEY = {"source": {"signer": {"key"}}}
"""Left out: the key is long, and its fingerprint identifies it."""


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan as plain data. It has everything that the image depends on."""
    return {
        "settings": plan.settings.model_dump(mode="json"),
        "base": plan.base.model_dump(mode="json", exclude=_SIGNER_KEY),
        "guest": plan.guest.model_dump(mode="json", exclude=_SIGNER_KEY) if plan.guest else None,
        "identity": asdict(plan.identity),
        "layout": asdict(plan.layout),
        "base_edits": [_edit(edit) for edit in plan.base_edits],
        "guest_edits": [_edit(edit) for edit in plan.guest_disk.edits] if plan.guest_disk else [],
        "installer_edits": [_edit(edit) for edit in plan.guest_disk.installer] if plan.guest_disk else [],
        "packages": list(plan.packages),
        "edits": [_edit(edit) for edit in plan.edits],
        "seed": [_seed_file(file) for file in plan.seed],
        "notes": [asdict(note) for note in plan.notes],
    }


def to_json(plan: Plan) -> str:
    return json.dumps(as_data(plan), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _edit(edit: Edit) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": edit.kind}
    for name in (field.name for field in fields(edit)):
        value = getattr(edit, name)
        if isinstance(value, bytes):
            data |= _digest(value)
        elif name == "mode":
            data["mode"] = f"{value:04o}"
        elif name == "secret":
            data["secret"] = asdict(value)
        elif name != "patch":
            data[name] = value
    if isinstance(edit, PatchText):
        data["patch"] = {"kind": type(edit.patch).__name__, **asdict(edit.patch)}
    return data


def _seed_file(file: SeedFile) -> dict[str, Any]:
    content = _digest(file.content) if file.secret is None else {"secret": asdict(file.secret)}
    return {"name": file.name, "origin": file.origin, **content}


def _digest(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
