"""The inputs of a flash from the command line: an image's file with its set, and secrets from the user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from builder.build import BuildOptions
from builder.cli import disk_texts
from builder.cli.terminal import Terminal
from builder.errors import ConfigurationError
from builder.flash import Job, image_file, pending_secrets
from builder.flash.signed import require_signed, signed_by, signers_of
from builder.image.forms import manifest_bytes, parsed
from builder.model.manifest import Manifest
from builder.model.patches import SecretRef
from builder.model.plan import Plan
from builder.secrets.resolve import Secrets, Slots, given_secrets, giving, secrets_of


@dataclass(frozen=True, slots=True)
class Given:
    """The user's options: the files with secrets, and the key that must have signed the image."""

    project: Path
    terminal: Terminal
    token_file: Path | None
    set_file: Path | None
    signer: Path | None
    require_signature: bool

    def require_none_of_an_image(self, ctx: click.Context) -> None:
        if self.signer or self.require_signature:
            raise click.UsageError("--signer and --require-signature are about an IMAGE", ctx)

    def signed(self, image: Path, manifest: bytes) -> str:
        """The signer of an image and its manifest, as text for people. Raises FlashRefusedError when a required
        signature is missing or bad."""
        found = signed_by(image, manifest, signers_of(self.project, self.signer))
        if self.require_signature or self.signer is not None:
            require_signed(image, found)
        return found.text

    def of_image(self, manifest: Manifest) -> Secrets:
        """The secrets that the manifest's image lacks, from files or typed. Raises ConfigurationError."""
        wanted = pending_secrets(manifest)
        for line in disk_texts.slots_lines(manifest):
            self.terminal.line(line)
        ask = self.terminal.ask if sys.stdin.isatty() else None
        secrets = Slots(ask, self._given(wanted))
        secrets.require(wanted)
        self._tell(secrets, wanted)
        return secrets

    def of_node(self, plan: Plan) -> Secrets:
        """The secrets of a node, from files or as in a build. Raises ConfigurationError."""
        wanted = list(secrets_of(plan))
        given = self._given(wanted)
        secrets = Secrets(self.project, self.terminal.ask, given)
        for secret in wanted:
            try:
                secrets.require([secret])
            except ConfigurationError as fault:
                if not given.keys() & {secret.reference, secret.purpose}:
                    fault.hint = giving(secret.kind)
                raise
        self._tell(secrets, wanted)
        return secrets

    def _tell(self, secrets: Secrets, wanted: Sequence[SecretRef]) -> None:
        for remark in secrets.remarks(wanted):
            self.terminal.step("note", remark)

    def _given(self, wanted: Sequence[SecretRef]) -> dict[str, str]:
        if not wanted and (self.token_file or self.set_file):
            raise ConfigurationError(
                "holds its secrets already, or needs none", hint="leave out --token-file and --set"
            )
        return given_secrets(wanted, self.token_file, self.set_file)


def image_job(ctx: click.Context, image: Path, options: BuildOptions, given: Given) -> Job:
    """The job for an image's file. The manifest is read only once, so that the disk gets the signed bytes. Raises
    click.UsageError for options that are for a NODE only."""
    if options.role or options.base or options.preset or options.offline or options.locked:
        raise click.UsageError("--role, --base, --preset, --offline and --locked are about a NODE", ctx)
    if not image.is_file():
        raise click.UsageError(f"there is no image {image}", ctx)
    content = manifest_bytes(image)
    manifest, signed = parsed(image, content), given.signed(image, content)
    secrets = given.of_image(manifest)
    return Job(manifest, image_file(image, manifest, given.terminal), secrets, log_folder(options.output), signed)


def log_folder(output: Path) -> Path | None:
    """The folder for the list of flashed disks: the project's output folder, or None if it does not exist."""
    return output if output.is_dir() else None
