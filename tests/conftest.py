"""Fixtures of several test files: copies of the shipped project folder that a test may change, and the image that is
built from it as it is."""

from __future__ import annotations

import hashlib
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builder.build import BuildOptions, Built, build
from builder.cli import main
from builder.errors import ConfigurationError
from builder.host import run
from builder.model.k3s_ca import from_text
from builder.model.manifest import Manifest
from builder.model.progress import Silent
from builder.project import Project
from builder.secrets import k3s_ca
from builder.store import upkeep
from tests.alpine_shop import Shop, open_shop
from tests.cases import Judge
from tests.planned import DEBIAN
from tests.target import Target, unpack

run.refuses_undeclared = True

SHIPPED = Path(__file__).parents[1]
PROJECT = ("profiles", "overlays", "cloud-init")
GOLDEN = Path(__file__).parent / "golden"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHfHPHRHBWzge5cjfODelJ5Ng124CduC6A8xsGh2133 pimu@test"


def copy_shipped(folder: Path, *names: str) -> Path:
    """Shipped folders (none named: a whole project's) as they are here, the user's keys included, for a test to change.
    The answer is `folder`."""
    for name in names or PROJECT:
        shutil.copytree(SHIPPED / name, folder / name, symlinks=True)
    return folder


@pytest.fixture
def project_folder(tmp_path: Path, access: Path) -> Path:
    """profiles/, overlays/ and cloud-init/ as shipped, with keys of the tests instead of the user's own."""
    return _with(access, copy_shipped(tmp_path / "project"))


@pytest.fixture(scope="session")
def shipped_folder(tmp_path_factory: pytest.TempPathFactory, access: Path) -> Path:
    """The same, once, for tests that only read it."""
    return _with(access, copy_shipped(tmp_path_factory.mktemp("shipped")))


@pytest.fixture
def bare_folder(tmp_path: Path, access: Path) -> Path:
    """The shipped profiles/, with empty overlays/ and cloud-init/."""
    folder = _with(access, copy_shipped(tmp_path / "project", "profiles"))
    for name in ("overlays", "cloud-init"):
        (folder / name).mkdir()
    (folder / "overlays/manifest.yaml").touch()
    return folder


@pytest.fixture
def pimu(project_folder: Path, command_line: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """pimu(WORD...): the command line in a project and with a cache of its own; returns the exit status."""
    monkeypatch.chdir(project_folder)
    monkeypatch.setenv("PIMU_CACHE", str(project_folder / "cache"))
    return command_line


@pytest.fixture
def command_line() -> Iterator[Callable[..., int]]:
    """command_line(WORD...): where the test is; the signals' handlers come back at its end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield lambda *words: main(words)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def judge(
    bare_folder: Path,
    command_line: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Judge:
    """judge(case, COMMAND): runs a case of tests/cases.py in a bare project."""
    return Judge(bare_folder, command_line, capsys, monkeypatch, request.config.getoption("--renew-golden"))


@pytest.fixture(scope="session")
def authorities_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate authorities of the tests' k3s cluster. Their keys take seconds, so pytest's cache keeps them
    until the code that makes them changes."""
    kept: pytest.Cache | None = getattr(request.config, "cache", None)
    folder = tmp_path_factory.mktemp("k3s-ca") if kept is None else kept.mkdir("k3s-ca")
    digest = hashlib.sha256(Path(k3s_ca.__file__).read_bytes()).hexdigest()
    file = folder / digest
    if not file.exists():
        with suppress(ConfigurationError):  # a test run beside this one may be first
            k3s_ca.write_ca("pimu", file)
    return file


@pytest.fixture(scope="session")
def authorities(authorities_file: Path) -> dict[str, str]:
    """PEM by the part's name."""
    return from_text(authorities_file.read_text())


@pytest.fixture(scope="session")
def access(tmp_path_factory: pytest.TempPathFactory, authorities_file: Path) -> Path:
    """The keys and secrets of a project, as set-up makes them."""
    folder = tmp_path_factory.mktemp("access")
    (folder / "id_ed25519.pub").write_text(f"{PUBLIC_KEY}\n")
    shutil.copy(authorities_file, folder / "k3s-ca")
    for name in ("k3s-token", "k3s-agent-token", "node-passwords"):
        (folder / name).touch(0o600)
        (folder / name).write_text(f"{name}-of-the-tests-{'0' * 20}\n")
    return folder


def _with(access: Path, folder: Path) -> Path:
    shutil.rmtree(folder / "profiles/access", ignore_errors=True)
    shutil.copytree(access, folder / "profiles/access")
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The worker node-003 of this project on plain Debian, through the user's own cache and lock: cold minutes, warm
    seconds."""
    output = tmp_path_factory.mktemp("output")
    options = BuildOptions(output=output, cache=upkeep.default_root(), role="worker", base=DEBIAN)
    (made,) = build(Project(SHIPPED), ["node-003"], options, Silent())
    return made


@pytest.fixture(scope="session")
def locked(built: Built) -> Path:
    """The pimu.lock of this project. A fresh checkout has none until the worker's image is built."""
    assert built.image.exists()
    return SHIPPED / "pimu.lock"


@pytest.fixture(scope="session")
def manifest(built: Built) -> Manifest:
    return Manifest.from_json(built.manifest.read_text(), str(built.manifest))


@pytest.fixture(scope="session")
def target(built: Built, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """The contents of the built image, and the means to run its programs."""
    base = built.plan.base
    return unpack(built.image, manifest.layout, base.architecture, base.boot.mount, tmp_path_factory.mktemp("target"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write tests/golden/ anew instead of comparing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The boot test waits most of the time; begun first, it lets all others run beside it."""
    items.sort(key=lambda item: item.get_closest_marker("boot") is None)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("alpine")) as opened:
        yield opened


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(NAME, text): the text is that of tests/golden/NAME, which a person has read."""

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--renew-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        assert text == file.read_text(), f"if the change is wanted: pytest --renew-golden, then read {file.name}"

    return check
