"""Secrets come from where the profiles say they are, once, and are in nothing but the image that they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.errors import ConfigurationError
from builder.model.patches import SecretRef
from builder.plan import to_json, to_lines
from builder.secrets import Secrets, given_secrets, secrets_of
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
        (SecretRef("file:.", "k3s-token"), "cannot be read: Is a directory"),
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


@pytest.mark.parametrize("text", ["", "short", "two words of one secret", f"{TOKEN}\nand a line", f'{TOKEN}"'])
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
    assert "canary-k3s-agent-token-0123456789" in held
    assert "canary-k3s-token-0123456789" not in held
    told = to_json(plan) + "\n".join(to_lines(plan))
    assert "file:profiles/access/k3s-agent-token" in told
    assert not any(secret in told for secret in held)


# What a command line gives -------------------------------------------------------------------------------------------

AGENT, SERVER = SecretRef("file:agent", "k3s-token"), SecretRef("file:server", "k3s-token")
PINNED = SecretRef("file:agent", "k3s-token", ca="file:ca")
HASH = SecretRef("env:HASH", "password-hash")
FULL = f"K10{'0' * 64}::node:{TOKEN}"


def private(folder: Path, text: str) -> Path:
    file = folder / "given"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_a_kind_of_which_there_is_one_need_not_be_named_as_the_profile_does(tmp_path: Path) -> None:
    file = private(tmp_path, f"k3s-token: {TOKEN}\nenv:HASH: $6$salt$hash\n")
    given = given_secrets([AGENT, HASH], None, file)
    assert given == {"file:agent": TOKEN, "env:HASH": "$6$salt$hash"}
    assert [Secrets(tmp_path, given=given)(secret) for secret in (AGENT, HASH)] == [TOKEN, "$6$salt$hash"]


@pytest.mark.parametrize("is_set", [True, False])
def test_two_of_a_kind_must_be_told_apart(tmp_path: Path, is_set: bool) -> None:
    file = private(tmp_path, f"k3s-token: {TOKEN}\n" if is_set else TOKEN)
    with pytest.raises(ConfigurationError, match=r"k3s-token: is one of 2, .*: file:agent, file:server"):
        given_secrets([AGENT, SERVER], None if is_set else file, file if is_set else None)


def test_a_full_token_needs_no_authorities_to_be_at_hand(tmp_path: Path) -> None:
    given = given_secrets([PINNED], private(tmp_path, f"{FULL}\n"), None)
    assert Secrets(tmp_path, given=given)(PINNED) == FULL


def test_a_bare_password_of_a_pinned_cluster_does(tmp_path: Path) -> None:
    given = given_secrets([PINNED], private(tmp_path, TOKEN), None)
    with pytest.raises(ConfigurationError, match="ca: cannot be read"):
        Secrets(tmp_path, given=given)(PINNED)


def test_a_node_s_password_is_the_same_from_both_forms_of_its_token(tmp_path: Path) -> None:
    wanted = SecretRef("file:agent", "k3s-token", "node-password/a")
    one, other = (Secrets(tmp_path, given={"file:agent": token})(wanted) for token in (TOKEN, FULL))
    assert one == other
