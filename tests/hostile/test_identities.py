"""A file that packages' scripts make for one machine is in no layer, unless the profile says so; a bake finds it by
itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.bake.identities import REMAKERS, holds_private_key, settle
from builder.errors import ConfigurationError, PimuError
from builder.model.identities import Action, Identities
from builder.plan import make_plan
from builder.project import Project
from builder.template.strict import render
from tests.bake.test_bake import furnish
from tests.conftest import SHIPPED

SECRET = "/etc/foo/key"
TOOLS = {
    "PKCS #8": "openssl genpkey -algorithm ed25519 -out KEY",
    "PKCS #1": "openssl genrsa -traditional -out KEY 2048",
    "SEC 1": "openssl ecparam -name prime256v1 -genkey -noout -out KEY",
    "encrypted": "openssl genpkey -algorithm ed25519 -aes256 -pass pass:x -out KEY",
    "PKCS #8 in DER, RSA": "openssl genpkey -algorithm rsa -outform der -out KEY",
    "PKCS #8 in DER, Ed25519": "openssl genpkey -algorithm ed25519 -outform der -out KEY",
    "PKCS #8 in DER, P-256": "openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -outform der -out KEY",
    "OpenSSH": "ssh-keygen -q -t ed25519 -N '' -f KEY",
    "OpenSSH in PEM": "ssh-keygen -q -t rsa -m PEM -N '' -f KEY",
    "behind its certificate": "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout K -out KEY && cat K >>KEY",
    "CR LF": "openssl genpkey -algorithm ed25519 | sed 's/$/\\r/' >KEY",
    "far down in a large file": "head -c 9000000 /dev/zero >KEY; openssl genpkey -algorithm ed25519 >>KEY",
    "OpenPGP": "export GNUPGHOME=$PWD/gpg; mkdir -m 700 gpg; gpg='gpg --batch --pinentry-mode loopback --passphrase='; "
    "$gpg --quick-gen-key x && $gpg --armor --export-secret-keys >KEY; gpgconf --kill all",
}
WRITTEN = {
    "WireGuard": b"[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n",
    "OpenVPN": b"#\n-----BEGIN OpenVPN Static key V1-----\n6acef03f62675b4b1bbd03e53b187727\n",
    "PuTTY": b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
    "age": b"# public key: age1x\nAGE-SECRET-KEY-1" + b"Q" * 58 + b"\n",
    "dropbear": b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x40" + bytes(64),
}
HARMLESS = {
    "nothing": b"",
    "a public key": b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
    "a program's text": b"\x7fELF...-----BEGIN PRIVATE KEY-----\x00-----END PRIVATE KEY-----\x00",
    "a manual": b"The file begins with -----BEGIN PRIVATE KEY----- and ends with another line.\n",
    "an example without its key": b"[Interface]\nPrivateKey = (generated)\n",
    "a DER certificate": b"\x30\x82\x03\x0d\x30\x82\x01\xf5\xa0\x03\x02\x01\x02\x02\x14" + bytes(64),
}


@pytest.mark.parametrize("command", TOOLS.values(), ids=TOOLS.keys())
def test_a_key_is_found_in_each_form_that_programs_write(command: str, tmp_path: Path) -> None:
    subprocess.run(["bash", "-eu", "-c", command.replace("KEY", "key")], cwd=tmp_path, check=True, capture_output=True)
    assert holds_private_key(tmp_path / "key")


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_key_is_found_in_forms_of_programs_that_are_not_here(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    assert holds_private_key(tmp_path / "key")


@pytest.mark.parametrize("content", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_only_speaks_of_keys_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert not holds_private_key(tmp_path / "file")


# In a tree ----------------------------------------------------------------------------------------------------------

INFO = "var/lib/dpkg/info"


@pytest.fixture(scope="module")
def remakers() -> Identities:
    """The shipped scripts that remake files."""
    project = Project(SHIPPED)
    resolved = project.settings("node-001", "server", "debian-trixie")
    return make_plan(resolved, project.overlays, project.seed, render=render).identities


@pytest.fixture
def settled(tmp_path: Path, remakers: Identities) -> Callable[..., Path]:
    """settled(script, shipped, chosen): a tree after the bake has looked at it. The package foo ships `shipped`, its
    postinst names SECRET and has made `script`."""

    def make(script: dict[str, bytes | str | None], shipped: dict[str, bytes], chosen: dict[str, Action]) -> Path:
        listed = "".join(f"/{name}\n" for name in shipped)
        database = {f"{INFO}/foo.list": listed.encode(), f"{INFO}/foo.postinst": f"make >{SECRET}\n".encode()}
        unpacked = furnish(tmp_path / "unpacked", {**shipped, **database})
        configured = furnish(tmp_path / "configured", script)
        root = furnish(tmp_path / "root", {**shipped, **database, **script})
        settle(root, [configured], unpacked, Identities(chosen, remakers.files, remakers.links))
        return root

    return make


KEY = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIEl0\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("name", "remaker"),
    [
        ("etc/nvme/hostnqn", "nvme"),
        ("etc/nvme/hostid", "nvme"),
        ("etc/iscsi/initiatorname.iscsi", "iscsi"),
        ("etc/ssl/private/ssl-cert-snakeoil.key", "ssl-cert"),
        ("etc/ssl/certs/ssl-cert-snakeoil.pem", "ssl-cert"),
        ("etc/bind/rndc.key", "rndc"),
    ],
)
def test_what_the_table_knows_is_made_at_boot_instead(settled: Callable[..., Path], name: str, remaker: str) -> None:
    root = settled({name: b"of the build host\n"}, {}, {})
    assert not (root / name).exists()
    assert [path.name for path in (root / REMAKERS.lstrip("/")).iterdir()] == [remaker]
    assert (root / "usr/lib/pimu/identities").stat().st_mode & 0o777 == 0o755
    assert (root / REMAKERS.lstrip("/") / remaker).stat().st_mode & 0o777 == 0o755
    wanted = root / "etc/systemd/system/sysinit.target.wants/pimu-identities.service"
    assert (root / str(wanted.readlink()).lstrip("/")).is_file()


@pytest.mark.parametrize("name", ["etc/docker/key.json", "var/lib/dkms/mok.key", "etc/cups/ssl/host.crt"])
def test_what_the_packages_own_service_makes_is_taken_out_and_no_more(settled: Callable[..., Path], name: str) -> None:
    root = settled({name: KEY}, {}, {})
    assert not (root / name).exists()
    assert not (root / "usr/lib/pimu").exists()


def test_a_tree_without_any_of_it_gets_nothing(settled: Callable[..., Path]) -> None:
    root = settled({"etc/foo/settings": b"x"}, {"usr/share/foo/test-key.pem": KEY}, {})
    assert (root / "usr/share/foo/test-key.pem").read_bytes() == KEY
    assert not (root / "usr/lib/pimu").exists()
    assert not (root / "etc/systemd").exists()


def test_a_certificates_link_by_its_hash_goes_with_it(settled: Callable[..., Path]) -> None:
    links: dict[str, bytes | str | None] = {
        "etc/ssl/certs/ssl-cert-snakeoil.pem": b"certificate",
        "etc/ssl/certs/1e2d3c4b.0": "ssl-cert-snakeoil.pem",
        "etc/ssl/certs/ffffffff.0": "another.pem",
    }
    root = settled(links, {}, {})
    assert [path.name for path in (root / "etc/ssl/certs").iterdir()] == ["ffffffff.0"]


@pytest.mark.parametrize(
    ("name", "package"),
    [(SECRET, " (package foo)"), ("/opt/other/key", " (package foo)"), ("/opt/other/secret", "")],
    ids=["named by its path", "named by its name", "named by nobody"],
)
def test_a_key_that_nobody_has_decided_about_is_refused(settled: Callable[..., Path], name: str, package: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settled({name.lstrip("/"): KEY}, {}, {})
    assert refused.value.where == f"{name}{package}"
    assert refused.value.hint.startswith(f"say identities: {{{name}: remake}}")


@pytest.mark.parametrize("name", ["/etc/munge/munge.key", "/etc/dropbear/initramfs/dropbear_rsa_host_key"])
def test_what_only_a_person_can_decide_is_refused_whatever_its_form(settled: Callable[..., Path], name: str) -> None:
    with pytest.raises(ConfigurationError, match="every node would have the same one"):
        settled({name.lstrip("/"): b"any bytes"}, {}, {})


def test_a_key_that_a_preinst_has_made_is_refused(tmp_path: Path, remakers: Identities) -> None:
    """Before the package was configured: it lies among the unpacked files, and in no package's list."""
    unpacked = furnish(tmp_path / "unpacked", {"etc/foo/key": KEY, f"{INFO}/foo.list": b"/etc/foo\n"})
    with pytest.raises(ConfigurationError, match=f"{SECRET}: is a private key"):
        settle(unpacked, [], unpacked, remakers)


def test_a_shipped_key_that_a_script_has_replaced_is_refused(settled: Callable[..., Path]) -> None:
    with pytest.raises(ConfigurationError, match=f"{SECRET} .*is a private key"):
        settled({"etc/foo/key": KEY}, {}, {"/etc/foo/other": "keep"})


SOURCE, BYTECODE = "usr/lib/python3/foo/test.py", "usr/lib/python3/foo/__pycache__/test.cpython-313.pyc"


def test_a_key_in_the_bytecode_of_a_packages_module_is_no_secret(settled: Callable[..., Path]) -> None:
    """The tests of fail2ban hold one."""
    root = settled({BYTECODE: b"\xf3\r\r\n" + KEY}, {SOURCE: repr(KEY).encode()}, {})
    assert (root / BYTECODE).is_file()


@pytest.mark.parametrize(
    ("script", "shipped"),
    [
        ({BYTECODE: KEY}, {}),
        ({BYTECODE: KEY, SOURCE: KEY}, {SOURCE: KEY}),
        ({BYTECODE.replace("pyc", "key"): KEY}, {SOURCE: KEY}),
    ],
    ids=["without a source", "its source was replaced", "no bytecode"],
)
def test_a_key_beside_a_packages_module_is_refused(
    settled: Callable[..., Path], script: dict[str, bytes], shipped: dict[str, bytes]
) -> None:
    with pytest.raises(ConfigurationError, match="is a private key"):
        settled(script, shipped, {})


@pytest.mark.parametrize("action", ["keep", "remove", "remake"])
def test_the_profile_decides(settled: Callable[..., Path], action: Action) -> None:
    root = settled({"etc/foo/key": KEY}, {}, {SECRET: action})
    assert (root / "etc/foo/key").exists() == (action == "keep")
    table = root / "usr/lib/pimu/identities.list"
    assert (table.read_text() if table.exists() else "") == (f"{SECRET} foo\n" if action == "remake" else "")


def test_the_profile_wins_over_the_table(settled: Callable[..., Path]) -> None:
    root = settled({"etc/nvme/hostid": b"x"}, {}, {"/etc/nvme/hostid": "keep"})
    assert (root / "etc/nvme/hostid").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"/opt/unknown": "remake"}, "/opt/unknown: is named by no package's scripts, so it cannot be remade"),
        ({"/opt/unknown": "keep", "/etc/fooo": "keep"}, "/etc/fooo: no package's script has made this file"),
    ],
)
def test_a_choice_that_cannot_be_followed_is_refused(
    settled: Callable[..., Path], chosen: dict[str, Action], said: str
) -> None:
    with pytest.raises(PimuError, match=said):
        settled({"opt/unknown": KEY}, {}, chosen)
