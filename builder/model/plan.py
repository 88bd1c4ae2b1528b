"""Plan: everything that profiles, overlays and cloud-init say about one node, resolved, without the network."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.edits import Edit
from builder.model.identities import Identities
from builder.model.identity import Identity, derived_uuid
from builder.model.patches import Resolve, SecretRef
from builder.model.pending import Pending
from builder.model.settings import Base, Guest, NodeSettings


@dataclass(frozen=True, slots=True)
class Layout:
    """MBR disk with two primary partitions. Offsets and sizes in bytes; filesystem ids are the golden's."""

    boot_start: int
    boot_size: int
    boot_label: str
    boot_volume_id: int
    sectors_per_cluster: int
    root_start: int
    root_label: str
    root_margin: int
    root_uuid: str
    root_hash_seed: str
    root_features: str


@dataclass(frozen=True, slots=True)
class SeedFile:
    """One file of the guest's NoCloud `cidata` disk; one that is a secret has no content until the disk is made."""

    name: str
    content: bytes
    origin: str
    secret: SecretRef | None = None

    def filled(self, secrets: Resolve) -> bytes:
        return self.content if self.secret is None else f"{secrets(self.secret)}\n".encode()


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """The guest's disk: `size` in bytes, virtual. Its ids follow from the guest's name: all nodes share it.

    `has_kernel`: kernel and initrd are wanted beside it, for QEMU to load. `installer` are the files that the live
    system of its ISO is given: what to do, and answers to what it would ask. `root_keys` are among those answers.
    """

    name: str
    size: int
    has_kernel: bool
    edits: tuple[Edit, ...]
    installer: tuple[Edit, ...] = ()
    root_keys: tuple[str, ...] = ()

    def derived(self, purpose: str) -> str:
        return str(derived_uuid("guest", self.name, purpose))


@dataclass(frozen=True, slots=True)
class Note:
    """Something the user should know that the plan decided, with the reason."""

    feature: str
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`base_edits` are made before the base's packages are configured too, for its initrd is made of them.

    `identities` is for the packages' layers: its files get into the image where a package has made an identity.
    `pending` are the secrets that the image is to lack.
    """

    settings: NodeSettings
    base: Base
    guest: Guest | None
    guest_disk: GuestDisk | None
    identity: Identity
    layout: Layout
    base_edits: tuple[Edit, ...]
    identities: Identities
    packages: tuple[str, ...]
    packages_origin: str
    edits: tuple[Edit, ...]
    seed: tuple[SeedFile, ...]
    notes: tuple[Note, ...]
    pending: tuple[Pending, ...] = ()

    def golden_edits(self) -> tuple[Edit, ...]:
        return (*self.base_edits, *(edit for edit in self.edits if edit.scope == "golden"))

    def node_edits(self) -> tuple[Edit, ...]:
        return tuple(edit for edit in self.edits if edit.scope == "node")
