"""Secrets come from where the profiles say they are, once, and are in nothing but the image that they are for."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.model.k3s_ca import to_text
from builder.model.patches import SecretRef
from builder.model.pending import PendingSeed
from builder.plan import to_json, to_lines
from builder.secrets.resolve import Secrets, given_secrets, secrets_of
from tests.planned import plan_of

TOKEN = "canary-0123456789abcdef"


def token_file(folder: Path, mode: int = 0o600, text: str = f"{TOKEN}\n") -> SecretRef:
    (folder / "token").write_text(text)
    (folder / "token").chmod(mode)
    return SecretRef("file:token", "k3s-token")


def test_a_secret_is_read_from_a_file_the_environment_or_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    questions: list[str] = []

    def person(what: str) -> str:
        questions.append(what)
        return TOKEN

    secrets = Secrets(tmp_path, person)
    asked = SecretRef("prompt", "k3s-token")
    references = (token_file(tmp_path), SecretRef("env:TOKEN", "k3s-token"), asked, asked)
    assert {secrets(reference) for reference in references} == {TOKEN}
    assert questions == ["k3s-token"]


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        (SecretRef("env:NO_SUCH", "k3s-token"), "the environment has no NO_SUCH"),
        (SecretRef("file:none", "k3s-token"), "none: cannot be read: No such file or directory"),
        (SecretRef("file:.", "k3s-token"), "is not a regular file"),
        (SecretRef("prompt", "k3s-token"), "nobody is there to be asked for the k3s-token"),
    ],
)
def test_a_secret_that_is_not_there_is_said(tmp_path: Path, reference: SecretRef, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        Secrets(tmp_path)(reference)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_none(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match=f"is open to others .mode {mode:04o}"):
        Secrets(tmp_path)(token_file(tmp_path, mode))


@pytest.mark.parametrize("text", ["", "two words of one secret", f"{TOKEN}\nand a line", f'{TOKEN}"'])
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a k3s token") as caught:
        Secrets(tmp_path)(token_file(tmp_path, text=text))
    assert not text or text.splitlines()[0] not in str(caught.value)


def test_a_node_s_password_follows_from_the_token_and_does_not_tell_it(tmp_path: Path) -> None:
    token, secrets = token_file(tmp_path), Secrets(tmp_path)
    one, other = (secrets(SecretRef(token.reference, "k3s-token", f"node-password/{name}")) for name in ("a", "b"))
    assert one == Secrets(tmp_path)(SecretRef(token.reference, "k3s-token", "node-password/a"))
    assert len({one, other, TOKEN}) == 3
    assert len(one) == 32


def test_a_worker_holds_the_agents_token_and_no_plan_tells_it(project_folder: Path) -> None:
    access = project_folder / "profiles/access"
    for name in ("k3s-token", "k3s-agent-token"):
        (access / name).write_text(f"canary-{name}-0123456789")
        (access / name).chmod(0o600)
    plan = plan_of(project_folder)
    secrets = Secrets(project_folder)
    held = {secrets(reference) for reference in secrets_of(plan)}
    assert [secret for secret in held if "canary-k3s-agent-token-0123456789" in secret]
    assert not [secret for secret in held if "canary-k3s-token-0123456789" in secret]
    assert not [secret for secret in held if "node-passwords-of-the-tests" in secret]
    told = to_json(plan) + "\n".join(to_lines(plan))
    assert "file:profiles/access/k3s-agent-token" in told
    assert not any(secret in told for secret in held)


# What a command line gives -------------------------------------------------------------------------------------------

AGENT, SERVER = SecretRef("file:agent", "k3s-token"), SecretRef("file:server", "k3s-token")
PINNED = SecretRef("file:agent", "k3s-token", ca="file:ca")
HASH = SecretRef("env:HASH", "password-hash")
CRYPT = "$6$salt$" + "x" * 86
FULL = f"K10{'0' * 64}::node:{TOKEN}"


def private(folder: Path, text: str) -> Path:
    file = folder / "given"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_a_kind_of_which_there_is_one_need_not_be_named_as_the_profile_does(tmp_path: Path) -> None:
    file = private(tmp_path, f"k3s-token: {TOKEN}\nenv:HASH: {CRYPT}\n")
    given = given_secrets([AGENT, HASH], None, file)
    assert given == {"file:agent": TOKEN, "env:HASH": CRYPT}
    assert [Secrets(tmp_path, given=given)(secret) for secret in (AGENT, HASH)] == [TOKEN, CRYPT]


@pytest.mark.parametrize("is_set", [True, False])
def test_two_of_a_kind_must_be_told_apart(tmp_path: Path, is_set: bool) -> None:
    file = private(tmp_path, f"k3s-token: {TOKEN}\n" if is_set else TOKEN)
    with pytest.raises(ConfigurationError, match=r"k3s-token: is one of 2, .*: file:agent, file:server"):
        given_secrets([AGENT, SERVER], None if is_set else file, file if is_set else None)


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    """One file would win without a word, and the disk would hold the token that nobody looked at."""
    both = private(tmp_path, f"k3s-token: {TOKEN}\n")
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        given_secrets([AGENT], token, both)
    assert str(caught.value).splitlines() == [
        f"{token}: k3s-token: is the secret file:agent, which {both}:1 gives too",
        "  leave one of the two out",
    ]
    twice = private(tmp_path, f"k3s-token: {TOKEN}\nfile:agent: {TOKEN}\n")
    with pytest.raises(ConfigurationError, match=r":2: file:agent: is the secret file:agent, which .*:1 gives too"):
        given_secrets([AGENT], None, twice)


def test_a_full_token_needs_no_authorities_to_be_at_hand(tmp_path: Path) -> None:
    given = given_secrets([PINNED], private(tmp_path, f"{FULL}\n"), None)
    assert Secrets(tmp_path, given=given)(PINNED) == FULL


def test_a_bare_password_of_a_pinned_cluster_does(tmp_path: Path) -> None:
    given = given_secrets([PINNED], private(tmp_path, TOKEN), None)
    with pytest.raises(ConfigurationError, match="ca: cannot be read") as caught:
        Secrets(tmp_path, given=given)(PINNED)
    assert caught.value.hint.startswith("give the token in full")


def test_a_node_s_password_is_the_same_from_both_forms_of_its_token(tmp_path: Path) -> None:
    wanted = SecretRef("file:agent", "k3s-token", "node-password/a")
    one, other = (Secrets(tmp_path, given={"file:agent": token})(wanted) for token in (TOKEN, FULL))
    assert one == other


def test_a_token_may_be_any_that_k3s_takes_and_a_doubtful_one_is_remarked(tmp_path: Path) -> None:
    for token, remark in (
        (TOKEN, ""),
        ("c2VjcmV0/+wbc2VjcmV0==", ""),
        ("changeme!", "fewer than 16 characters"),
        ("q4bjus.7k1x6b1fz0d72prp", "is a bootstrap token: it expires"),
        (f"K10{'0' * 64}::q4bjus.7k1x6b1fz0d72prp", "is a bootstrap token: it expires"),
        (f"K10{'0' * 64}::node:changeme!", "fewer than 16 characters"),
    ):
        secrets = Secrets(tmp_path)
        wanted = replace(token_file(tmp_path, text=f"{token}\n"), user="node")
        assert secrets(wanted) == token
        said = secrets.remarks([wanted, wanted])
        assert [remark in text and token not in text for text in said] == ([True] if remark else [])


# A disk that is flashed where the project's secrets are not

PASSWORD = SecretRef("file:node-passwords", "node-passwords", "node-password/k3s-003")


@pytest.mark.parametrize("name", ["node-password", "node-passwords", "file:node-passwords"])
def test_a_node_password_is_given_as_it_is_or_by_what_it_follows_from(tmp_path: Path, name: str) -> None:
    file = private(tmp_path, f"k3s-token: {TOKEN}\n{name}: {'x' * 40}\n")
    secrets = Secrets(tmp_path, given=given_secrets([AGENT, PASSWORD], None, file))
    found = secrets(PASSWORD)
    assert (found == "x" * 40) == (name == "node-password")
    (tmp_path / "node-passwords").touch(0o600)
    (tmp_path / "node-passwords").write_text("x" * 40)
    assert (found == Secrets(tmp_path)(PASSWORD)) == (name != "node-password")


def test_an_image_of_before_gets_what_it_lacks(tmp_path: Path, authorities: dict[str, str]) -> None:
    """Its manifest does not say whom a token admits: one with a ca was an agent's."""
    stored = {
        "place": "seed",
        "path": "/usr/share/pimu/guest/seed.img",
        "name": "k3s-token",
        "feature": "guest",
        "origin": "x",
    }
    kept = {"kind": "k3s-token", "reference": "file:agent", "purpose": "", "ca": ""}
    wanted = PendingSeed.model_validate({**stored, "secret": kept | {"ca": "file:ca"}}).secret
    (tmp_path / "ca").touch(0o600)
    (tmp_path / "ca").write_text(to_text("pimu", authorities))
    assert Secrets(tmp_path, given={"file:agent": TOKEN})(wanted).endswith(f"::node:{TOKEN}")
    of_a_server = PendingSeed.model_validate({**stored, "secret": kept}).secret
    servers = FULL.replace("node", "server")
    assert Secrets(tmp_path, given={"file:agent": servers})(of_a_server) == servers


@pytest.mark.parametrize("text", ["short", "x" * 4097, "two words of one password", "0123456789abcde\u00e4"])
def test_what_is_no_node_password_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    secrets = Secrets(tmp_path, given={PASSWORD.purpose: text})
    with pytest.raises(ConfigurationError, match="is not a node's password") as caught:
        secrets(PASSWORD)
    assert text not in str(caught.value)


# Hashes of passwords, by the lengths of crypt(5) ----------------------------------------------------------------------

HASHES = {
    "yescrypt": "$y$j9T$c2FsdHNhbHRzYWx0$" + "x" * 43,
    "gost-yescrypt": "$gy$j9T$c2FsdHNhbHRzYWx0$" + "x" * 43,
    "scrypt": "$7$CU..../....SodiumChloride$" + "x" * 43,
    "bcrypt": "$2b$12$" + "x" * 53,
    "sha512": "$6$saltsalt$" + "x" * 86,
    "sha512 with rounds": "$6$rounds=656000$saltsalt$" + "x" * 86,
    "sha256": "$5$saltsalt$" + "x" * 43,
}


@pytest.mark.parametrize("text", HASHES.values(), ids=HASHES)
def test_a_whole_hash_of_a_strong_method_is_taken_and_a_shorter_one_is_not(text: str, tmp_path: Path) -> None:
    assert Secrets(tmp_path, given={"env:HASH": f"{text}\r\n"})(HASH) == text
    for broken in (text[:-1], text + "x", text.replace("$", "", 1)):
        with pytest.raises(ConfigurationError, match="is not a password's hash"):
            Secrets(tmp_path, given={"env:HASH": broken})(HASH)


@pytest.mark.parametrize(
    "text", ["$6$", "$x", "$6$saltsalt$abc", "$6$$" + "x" * 86, "$", "!", "*", "pi:" + HASHES["sha512"]]
)
def test_what_a_shell_has_eaten_locks_nobody_out(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a password's hash.*\n.*single quotes"):
        Secrets(tmp_path, given={"env:HASH": text})(HASH)


@pytest.mark.parametrize(
    "text", ["$1$saltsalt$" + "x" * 22, "$3$$" + "0" * 32, "$sha1$64000$salt$" + "x" * 28, "$2x$12$" + "x" * 53]
)
def test_a_weak_method_is_refused_and_named_so(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="too weak"):
        Secrets(tmp_path, given={"env:HASH": text})(HASH)


@pytest.mark.parametrize("method", ["-6", "-5"])
def test_what_the_hint_makes_is_taken(method: str, tmp_path: Path) -> None:
    made = subprocess.run(["openssl", "passwd", method, "x"], capture_output=True, text=True, check=True).stdout
    assert Secrets(tmp_path, given={"env:HASH": made})(HASH) == made.strip()


# Files of secrets -----------------------------------------------------------------------------------------------------


def test_a_secret_of_another_user_is_refused_but_for_the_person_behind_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, project = tmp_path / "outside", tmp_path / "project"
    outside.mkdir()
    project.mkdir()
    file = outside / "token"
    file.touch(0o600)
    file.write_text(TOKEN)
    os.chown(file, 12345, 12345)
    monkeypatch.delenv("SUDO_UID", raising=False)
    wanted = SecretRef(f"file:{file}", "k3s-token")
    with pytest.raises(ConfigurationError, match=r"belongs to another user \(uid 12345\)"):
        Secrets(project)(wanted)
    monkeypatch.setenv("SUDO_UID", "12345")
    assert Secrets(project)(wanted) == TOKEN


def test_a_secret_of_the_project_may_belong_to_the_project_s_owner(tmp_path: Path) -> None:
    file = tmp_path / "agent"
    file.touch(0o600)
    file.write_text(TOKEN)
    os.chown(file, 12345, 12345)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        Secrets(tmp_path)(AGENT)
    os.chown(tmp_path, 12345, 12345)
    assert Secrets(tmp_path)(AGENT) == TOKEN


def test_a_secret_below_the_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project").mkdir()
    private(tmp_path, TOKEN).rename(tmp_path / "token")
    assert Secrets(tmp_path / "project")(SecretRef("file:~/token", "k3s-token")) == TOKEN
