"""A plan without its secrets, for an image that anybody may have. `flash` writes the secrets to the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from builder.model.edits import Edit, PatchText, PlaceBlob, WriteSecret
from builder.model.patches import Record, SecretRef
from builder.model.pending import Pending, PendingFile, PendingRecord, PendingSeed
from builder.model.plan import Plan


def without_secrets(plan: Plan) -> Plan:
    """The plan with each secret moved to `pending`. An account has no password until its secret is written."""
    held = {id(edit): pending for edit in plan.edits if (pending := _pending_edit(edit)) is not None}
    return replace(
        plan,
        edits=tuple(edit for edit in plan.edits if id(edit) not in held),
        seed=tuple(file for file in plan.seed if file.secret is None),
        pending=(*held.values(), *_pending_seed(plan)),
    )


def _pending_edit(edit: Edit) -> Pending | None:
    match edit:
        case WriteSecret():
            return PendingFile(
                path=edit.path,
                mode=edit.mode,
                uid=edit.uid,
                gid=edit.gid,
                secret=edit.secret,
                feature=edit.feature,
                origin=edit.origin,
            )
        case PatchText(patch=Record(fields=fields)) if any(isinstance(field, SecretRef) for field in fields):
            return PendingRecord(path=edit.path, fields=fields, feature=edit.feature, origin=edit.origin)
    return None


def _pending_seed(plan: Plan) -> Iterator[PendingSeed]:
    disks = (edit for edit in plan.edits if isinstance(edit, PlaceBlob) and edit.blob == "guest-seed")
    for disk in disks:
        for file in plan.seed:
            if file.secret is not None:
                yield PendingSeed(
                    path=disk.path, name=file.name, secret=file.secret, feature=disk.feature, origin=file.origin
                )
