"""A cluster's certificate authorities: what k3s takes them for, who holds which part, what a file of them must be."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from builder.errors import ConfigurationError
from builder.model.k3s_ca import ISSUED, PARTS, PLACED, from_text, root_digest, to_text
from builder.model.patches import SecretRef
from builder.plan import to_json, to_lines
from builder.secrets.k3s_ca import make_parts
from builder.secrets.resolve import Secrets, secrets_of
from tests.planned import pi_of, plan_of

NOW = datetime(2026, 11, 26, tzinfo=UTC)
TOKEN = "canary-0123456789abcdef"


@pytest.fixture(scope="module")
def parts() -> dict[str, str]:
    return make_parts("pimu", NOW)


@pytest.fixture
def project(project_folder: Path, parts: dict[str, str]) -> Path:
    """With authorities, and tokens."""
    for name, text in {"k3s-ca": to_text("pimu", parts), "k3s-token": TOKEN[::-1], "k3s-agent-token": TOKEN}.items():
        file = project_folder / "profiles/access" / name
        file.write_text(text)
        file.chmod(0o600)
    return project_folder


def certificates(pem: str) -> list[x509.Certificate]:
    end = "-----END CERTIFICATE-----\n"
    return [x509.load_pem_x509_certificate(f"{part}{end}".encode()) for part in pem.split(end) if part]


def k3s_hash(bundle: str) -> str:
    """pkg/clientaccess/token.go, hashCA: a lone certificate by the bytes of its file; of several, the root to which the
    first one's chain leads, by its DER."""
    found = certificates(bundle)
    if len(found) == 1:
        return hashlib.sha256(bundle.encode()).hexdigest()
    here = found[0]
    while here.issuer != here.subject:
        (here,) = (one for one in found if one.subject == here.issuer)
    return hashlib.sha256(here.public_bytes(Encoding.DER)).hexdigest()


def test_every_part_survives_the_file(parts: dict[str, str]) -> None:
    assert from_text(to_text("pimu", parts).strip()) == {name: parts[name] for name in PARTS}


@pytest.mark.parametrize("name", ISSUED)
def test_a_chain_leads_to_the_root_by_keys_that_belong_to_it(parts: dict[str, str], name: str, tmp_path: Path) -> None:
    own, intermediate, root = certificates(parts[f"{name}.crt"])
    for file, certificate in (("own", own), ("intermediate", intermediate), ("root", root)):
        (tmp_path / file).write_bytes(certificate.public_bytes(Encoding.PEM))
    argv = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW.timestamp())), "-CAfile", "root"]
    subprocess.run([*argv, "-untrusted", "intermediate", "own"], cwd=tmp_path, check=True, capture_output=True)
    key = load_pem_private_key(parts[f"{name}.key"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = own.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert (key.curve.name, key.public_key().public_numbers()) == ("secp256r1", public.public_numbers())
    assert parts[f"{name}.key"].startswith("-----BEGIN EC PRIVATE KEY-----\n")


def test_lives_keys_and_powers_are_those_of_k3s_own_script(parts: dict[str, str]) -> None:
    own, intermediate, root = certificates(parts["server-ca.crt"])
    for certificate, days in ((own, 3700), (intermediate, 3700), (root, 7300)):
        lived = certificate.not_valid_after - NOW.replace(tzinfo=None)
        assert lived.days == days
        assert certificate.not_valid_before < datetime(2026, 1, 1)  # noqa: DTZ001
        powers = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (powers.critical, powers.value.ca) == (True, True)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert (usage.value.key_cert_sign, usage.value.digital_signature, usage.value.crl_sign) == (True, True, False)
    authority = root.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert authority.key_identifier == root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    for name, bits in (("root-ca.key", 4096), ("intermediate-ca.key", 4096), ("service.key", 2048)):
        key = load_pem_private_key(parts[name].encode(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        assert key.key_size == bits


def test_a_worker_carries_the_roots_hash_as_k3s_reckons_it_and_no_key(project: Path, parts: dict[str, str]) -> None:
    plan, secrets = plan_of(project), Secrets(project)
    held = {file.name: secrets(file.secret) for file in plan.seed if file.secret is not None}
    assert held["k3s-token"] == f"K10{k3s_hash(parts['server-ca.crt'])}::node:{TOKEN}"
    without = Secrets(project)(SecretRef("file:profiles/access/k3s-agent-token", "k3s-token"))
    assert without == TOKEN
    assert not [secret for secret in held.values() if "KEY" in secret]


@pytest.mark.parametrize("token", [TOKEN[::-1], "K10{root}::server:" + TOKEN[::-1]])
def test_a_further_server_knows_the_first_one_before_it_shows_its_token(
    project: Path, parts: dict[str, str], token: str
) -> None:
    """The servers' token is the cluster, and the first server compares with its password alone."""
    root = k3s_hash(parts["server-ca.crt"])
    (project / "profiles/access/k3s-token").write_text(token.replace("{root}", root))
    etcd = "role: server\nk3s: {datastore: etcd}\n"
    first, second = (
        pi_of(plan_of(project, role="server", name=name, node=etcd), secrets=Secrets(project))
        for name in ("node-001", "node-002")
    )
    assert first.text("/etc/rancher/k3s/token") == f"{TOKEN[::-1]}\n"
    assert second.text("/etc/rancher/k3s/token") == f"K10{root}::server:{TOKEN[::-1]}\n"
    assert {pi.text("/etc/rancher/k3s/agent-token") for pi in (first, second)} == {f"{TOKEN}\n"}


def test_a_server_is_made_of_the_authorities_but_for_the_keys_of_root_and_intermediate(
    project: Path, parts: dict[str, str]
) -> None:
    plan = plan_of(project, role="server")
    pi = pi_of(plan, secrets=Secrets(project))
    tls = "/var/lib/rancher/k3s/server/tls"
    for name in PLACED:
        entry = pi.entry(f"{tls}/{name}")
        assert entry is not None
        assert entry.read().decode() == parts[name]
        assert (entry.mode, entry.uid, entry.gid) == (0o600 if name.endswith(".key") else 0o644, 0, 0)
    folder = pi.entry("/var/lib/rancher/k3s/server")
    assert folder is not None
    assert folder.mode == 0o700
    everything = b"".join(entry.read() for _, entry in pi.root.files()).decode()
    assert parts["root-ca.key"] not in everything
    assert parts["intermediate-ca.key"] not in everything
    assert pi.text("/etc/rancher/k3s/agent-token") == f"{TOKEN}\n"


@pytest.mark.parametrize("role", ["worker", "server"])
def test_no_plan_tells_a_key_or_a_token(project: Path, role: str) -> None:
    plan = plan_of(project, role=role)
    told = to_json(plan) + "\n".join(to_lines(plan))
    assert "file:profiles/access/k3s-ca" in told
    secrets = Secrets(project)
    assert not [secret for secret in map(secrets, secrets_of(plan)) if secret in told]
    assert "PRIVATE KEY" not in told


def test_a_token_of_another_cluster_is_refused(project: Path) -> None:
    token = project / "profiles/access/k3s-agent-token"
    token.write_text(f"K10{'0' * 64}::node:{TOKEN}")
    reference = SecretRef("file:profiles/access/k3s-agent-token", "k3s-token", ca="file:profiles/access/k3s-ca")
    with pytest.raises(
        ConfigurationError, match="is a token of another cluster than that of file:profiles/access/k3s-ca"
    ):
        Secrets(project)(reference)
    root = root_digest(from_text((project / "profiles/access/k3s-ca").read_text()))
    token.write_text(f"K10{root}::node:{TOKEN}")
    assert Secrets(project)(reference) == f"K10{root}::node:{TOKEN}"


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda text: "", "it has no root-ca.crt"),
        (lambda text: text.replace("# service.key", "# servant.key"), "it has no service.key"),
        (
            lambda text: text[: text.index("# service.key") + 80],
            "it has a service.key that is not PEM of a private key",
        ),
        (lambda text: text.replace("BEGIN EC PRIVATE", "BEGIN PUBLIC"), "it has a client-ca.key that is not PEM"),
        (lambda text: text.replace("MII", "M!I", 1), "it has a root-ca.crt that is not PEM of a certificate"),
    ],
)
def test_what_is_no_file_of_authorities_is_refused_and_not_repeated(
    project: Path, damage: Callable[[str], str], fault: str
) -> None:
    file = project / "profiles/access/k3s-ca"
    file.write_text(damage(file.read_text()))
    with pytest.raises(ConfigurationError, match=fault) as caught:
        Secrets(project).require(secrets_of(plan_of(project, role="server")))
    assert "MII" not in str(caught.value)
    assert caught.value.hint == "make one with `pimu-build k3s-ca --to FILE`"


def test_the_command_makes_a_file_for_its_owner_and_never_over_another(
    pimu: Callable[..., int], project_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pimu("k3s-ca", "--to", "profiles/access/ca") == 0
    file = project_folder / "profiles/access/ca"
    assert file.stat().st_mode & 0o777 == 0o600
    made = file.read_text()
    assert certificates(from_text(made)["root-ca.crt"])[0].subject.rfc4514_string().startswith("CN=pimu-root-ca@")
    capsys.readouterr()
    assert pimu("k3s-ca", "--to", "profiles/access/ca") == 3
    assert "profiles/access/ca: is there already, and a cluster may hang by it" in capsys.readouterr().err
    assert file.read_text() == made
    assert pimu("k3s-ca", "--to", "nowhere/ca") == 3
