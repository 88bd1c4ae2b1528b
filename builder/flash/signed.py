"""Find the signer of a published set. The signature covers SHA256SUMS, and SHA256SUMS lists the image and its manifest.

Each check uses the same bytes that are used afterwards. docs/artifacts.md has the same steps by hand.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import limits
from builder.errors import ConfigurationError, FlashRefusedError, MissingToolError
from builder.fetch.cache import sha256_of
from builder.fetch.signatures import judge
from builder.host.files import entries_inside, read_regular, write_new
from builder.host.run import run, which

SIGNERS = Path("profiles/signers")
"""The project's folder with the public keys (minisign or OpenPGP) of trusted signers."""
_SUMS = "SHA256SUMS"
_MINISIGN, _OPENPGP = ".minisig", ".asc"
_COMMENT = b"untrusted comment:"
_KEY_ID = slice(2, 10)
"""The place of the id in the decoded first base64 line of a key or a signature (jedisct1.github.io/minisign)."""
_HINT = "fetch the whole set again from who signed it"


@dataclass(frozen=True, slots=True)
class Signer:
    """A public key. `content` is the content of its file, `name` the path."""

    name: str
    content: bytes

    @property
    def form(self) -> str:
        """The file name's ending of this key's signatures."""
        return _MINISIGN if self.content.startswith(_COMMENT) else _OPENPGP


@dataclass(frozen=True, slots=True)
class Signed:
    """The signer of a set. `by` is its name, or "" for an unknown one. `text` continues a sentence after "signed"."""

    by: str
    text: str


def signers_of(project: Path, file: Path | None) -> list[Signer]:
    """The key in `file`, or without `file` all keys in the project. Raises ConfigurationError when a file cannot be
    read."""
    folder = project / SIGNERS
    if file is None and folder.is_dir():
        names = sorted(entry.name for entry in entries_inside(project, str(SIGNERS)))
        files = [folder / name for name in names if not name.startswith(".")]
    else:
        files = [] if file is None else [file]
    return [Signer(str(path), read_regular(path, limits.SIGNATURE)) for path in files]


def signed_by(image: Path, manifest: bytes, signers: Sequence[Signer]) -> Signed:
    """The signer of the set with the image and this manifest.

    Raises FlashRefusedError when a signature of one of `signers` is bad or does not cover these files,
    MissingToolError, and ConfigurationError when a file of the set cannot be read.
    """
    sums = image.with_name(_SUMS)
    if not sums.exists():
        return Signed("", f"by nobody: there is no {_SUMS} beside it")
    forms = [form for form in (_MINISIGN, _OPENPGP) if image.with_name(_SUMS + form).exists()]
    if not forms:
        return Signed("", f"by nobody: {_SUMS} has no signature")
    if not signers:
        return Signed("", f"by somebody unknown: --signer FILE or {SIGNERS}/ names the keys that you believe")
    listed = read_regular(sums, limits.SUMS)
    reasons: list[str] = []
    for form in forms:
        signature = read_regular(image.with_name(_SUMS + form), limits.SIGNATURE)
        for signer in (one for one in signers if one.form == form):
            against = _against(signer, listed, signature, str(sums) + form)
            if not against:
                _require_listed(listed, image, manifest, signer.name)
                return Signed(signer.name, f"by {signer.name}")
            reasons.append(f"{signer.name}: {against}")
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return Signed("", f"by none of the {len(signers)} keys that you believe{why}")


def require_signed(image: Path, signed: Signed) -> None:
    """Raises FlashRefusedError when no known signer has signed the image."""
    if not signed.by:
        raise FlashRefusedError(
            f"is signed {signed.text}; nothing was written",
            where=str(image),
            hint="name the publisher's public key with --signer FILE, and keep the set's files together",
        )


def _against(signer: Signer, sums: bytes, signature: bytes, where: str) -> str:
    """The reason why this signer has not made the signature, or why it does not count; "" for a good signature.

    Raises FlashRefusedError when the signer has signed other content.
    """
    program = "gpg" if signer.form == _OPENPGP else "minisign"
    if which(program) is None:
        raise MissingToolError(f"{program} is not installed", where=where, hint=f"apt install {program}")
    with tempfile.TemporaryDirectory(prefix="pimu-set-") as name:
        folder = Path(name)
        listed = write_new(folder, "sums", sums)
        if signer.form == _OPENPGP:
            judged = judge(listed, signature, signer.content, _fingerprint(signer), where)
            if judged.is_changed:
                raise _bad(signer, where)
            return judged.against
        detached, key = write_new(folder, "signature", signature), write_new(folder, "key", signer.content)
        good = run(["minisign", "-V", "-q", "-p", key, "-m", listed, "-x", detached], check=False).returncode == 0
    if not good and _key_id(signature) == _key_id(signer.content):
        raise _bad(signer, where)
    # minisign shows an id as one number; its bytes are little-endian.
    return "" if good else f"it is signed by {int.from_bytes(_key_id(signature), 'little'):016X}"


def _fingerprint(signer: Signer) -> str:
    """The fingerprint of the only primary key in a file (GnuPG, doc/DETAILS: `fpr` after `pub`). Raises
    ConfigurationError unless there is exactly one key."""
    with tempfile.TemporaryDirectory(prefix="pimu-gpg-") as home:
        words = ("--homedir", home, "--batch", "--with-colons", "--show-keys")
        said = run(["gpg", *words], input=signer.content, check=False)
    found = re.findall(r"^pub:.*\n(?:fpr|[a-z]+):+([0-9A-F]{40}):", said.text, re.MULTILINE)
    if len(found) != 1:
        raise ConfigurationError(
            f"holds {len(found)} public keys, and one is wanted",
            where=signer.name,
            hint="a file holds one key of minisign, or one of OpenPGP: `gpg --armor --export FINGERPRINT`",
        )
    return str(found[0])


def _key_id(text: bytes) -> bytes:
    lines = text.splitlines()
    try:
        return base64.b64decode(lines[1] if len(lines) > 1 else b"", validate=True)[_KEY_ID]
    except binascii.Error:
        return b""


def _bad(signer: Signer, where: str) -> FlashRefusedError:
    said = f"is a bad signature by {signer.name}: the set was changed after it was signed; nothing was written"
    return FlashRefusedError(said, where=where, hint=_HINT)


def _require_listed(sums: bytes, image: Path, manifest: bytes, by: str) -> None:
    wanted = {
        f"{_stem(image)}.manifest.json": hashlib.sha256(manifest).hexdigest(),
        image.name: sha256_of(image),
    }
    listed = list(_lines(sums))
    for name, digest in wanted.items():
        found = {sha256 for sha256, of in listed if of == name}
        if found != {digest}:
            said = "is not the file that" if found else "is not among the files that"
            raise FlashRefusedError(
                f"{said} {by} signed; nothing was written", where=str(image.with_name(name)), hint=_HINT
            )


def _lines(sums: bytes) -> Iterator[tuple[str, str]]:
    """Digest and name of each line of sha256sum(1): digest, a blank, a blank or an asterisk, name."""
    for line in sums.decode(errors="replace").splitlines():
        if match := re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line):
            yield match[1], match[2]


def _stem(image: Path) -> str:
    return re.sub(r"\.img(\.\w+)?$", "", image.name)
