"""Makes the certificate authorities of a k3s cluster, with the keys and the lives that k3s's own script gives them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from builder.errors import ConfigurationError
from builder.host.files import PRIVATE_MODE, beside
from builder.model.k3s_ca import INTERMEDIATE, ISSUED, ROOT, to_text

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_ROOT_LIFE, _LIFE = timedelta(days=7300), timedelta(days=3700)
_BACK = timedelta(days=365)
"""A Pi has no clock: until a time server answers, its day is one before the image was made."""


def write_ca(cluster: str, file: Path) -> None:
    """A new file, for its owner alone, which appears when it is complete: keys take seconds, and half a file would stop
    every later try. Raises ConfigurationError when it is there already or cannot be written."""
    try:
        with beside(file, mode=PRIVATE_MODE) as (fresh, descriptor), os.fdopen(descriptor, "w") as out:
            if os.path.lexists(file):
                raise FileExistsError
            out.write(to_text(cluster, make_parts(cluster, datetime.now(UTC).replace(microsecond=0))))
            out.flush()
            os.fsync(descriptor)
            os.link(fresh, file)  # link(2) replaces nothing, and follows no symlink that has the name
    except FileExistsError as there:
        raise ConfigurationError(
            "is there already, and a cluster may hang by it", where=str(file), hint="name another file with --to"
        ) from there
    except OSError as refused:
        raise ConfigurationError(f"cannot be written: {refused.strerror}", where=str(file)) from refused


@dataclass(frozen=True, slots=True)
class _Authority:
    key: _Key
    certificate: x509.Certificate


def make_parts(cluster: str, now: datetime) -> dict[str, str]:
    """PEM by name (builder.model.k3s_ca.PARTS)."""
    root = _authority(f"{cluster}-{ROOT}", _rsa(4096), now, _ROOT_LIFE)
    intermediate = _authority(f"{cluster}-{INTERMEDIATE}", _rsa(4096), now, _LIFE, root)
    chain = _pem(intermediate) + _pem(root)
    parts = {
        f"{ROOT}.crt": _pem(root),
        f"{ROOT}.key": _pem_of_key(root.key),
        f"{INTERMEDIATE}.crt": chain,
        f"{INTERMEDIATE}.key": _pem_of_key(intermediate.key),
        "service.key": _pem_of_key(_rsa(2048)),
    }
    for name in ISSUED:
        key = ec.generate_private_key(ec.SECP256R1())
        own = _authority(f"{cluster}-{name.replace('/', '-')}", key, now, _LIFE, intermediate)
        parts |= {f"{name}.crt": _pem(own) + chain, f"{name}.key": _pem_of_key(key)}
    return parts


def _rsa(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def _authority(name: str, key: _Key, now: datetime, life: timedelta, issuer: _Authority | None = None) -> _Authority:
    """By `issuer` or, as a root, by itself. k3s tells a root by its authority key id, which is its own."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{name}@{int(now.timestamp())}")])
    signer = issuer.key if issuer else key
    unused = ("content_commitment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only")
    usage = x509.KeyUsage(
        digital_signature=True, key_encipherment=True, key_cert_sign=True, **dict.fromkeys(unused, False)
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACK)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    return _Authority(key, made.sign(signer, hashes.SHA256()))


def _pem(authority: _Authority) -> str:
    return authority.certificate.public_bytes(Encoding.PEM).decode()


def _pem_of_key(key: _Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
