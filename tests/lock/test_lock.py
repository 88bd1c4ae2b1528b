"""pimu.lock survives its text, shows a change as a line, refuses what it does not know, and is asked by request."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.errors import ConfigurationError, DownloadError
from builder.fetch import Cache, Pin
from builder.fetch.upstream import named_base
from builder.host import tools
from builder.lock.lock_file import read_lock, write_lock
from builder.lock.relock import Relocker
from builder.lock.resolve import Resolver, deb_pins
from builder.model.lock import (
    Deb,
    Lock,
    LockedFile,
    LockedImage,
    Resolution,
    as_data,
    canonical,
    from_text,
    of_data,
    to_text,
)
from builder.model.progress import Silent
from builder.model.sources import AptSource, ImageSource, Signer
from builder.project import Project
from builder.store.products import Store
from tests.loopback import serving

SOURCE = AptSource(uri="http://127.0.0.1:1/debian", suites=("trixie",), components=("main",), keyring="/none.gpg")

SOURCE_IMAGE = ImageSource(
    kind="image",
    urls=("http://127.0.0.1:1/i.img.xz",),
    sha256="a" * 64,
    signer=Signer(fingerprint="0" * 40, key="http://127.0.0.1:1/key"),
    host_programs=(SOURCE,),
)


def deb(name: str, version: str = "1:2.0~rc1-3+b1") -> Deb:
    return Deb(name, version, "arm64", "http://deb.debian.org/debian", f"pool/main/{name}.deb", "a" * 64, 1234)


REQUEST = canonical(
    {"sources": [], "architecture": "arm64", "packages": ["nmon"], "status": "b" * 64, "bootstrap": False}
)


def lock() -> Lock:
    essential = ("dpkg", "base-files")
    return Lock(
        {
            "worker": Resolution('{"packages":["nmon"]}', 7, (deb("nmon"),)),
            "base": Resolution('{"packages":[]}', 1_700_000_000, (deb("zstd"), deb("dpkg")), essential),
        }
    )


def test_round_trip_is_sorted() -> None:
    text = to_text(lock())
    again = from_text(text, "pimu.lock")
    assert to_text(again) == text
    assert again.resolutions["worker"] == lock().resolutions["worker"]
    assert [deb.name for deb in again.resolutions["base"].debs] == ["dpkg", "zstd"]
    assert again.resolutions["base"].essential == ("base-files", "dpkg")
    assert list(again.resolutions) == ["base", "worker"]


def test_packages_that_go_are_locked_with_those_that_come() -> None:
    made = replace(lock().resolutions["worker"], removed=("systemd-timesyncd",))
    again = from_text(text := to_text(lock().with_resolution("worker", made)), "pimu.lock")
    assert again.resolutions["worker"].removed == ("systemd-timesyncd",)
    assert '      "removed": ["systemd-timesyncd"],\n' in text
    assert of_data(as_data(made), "manifest") == made
    assert "removed" not in to_text(lock())
    assert "removed" not in as_data(lock().resolutions["worker"])


IMAGE = LockedImage(
    "{}", "http://x/i.img.xz", "a" * 64, 5, "b" * 64, 1 << 30, "F4AADD86C4687D69AE04543E796C114AD12B2292"
)


def test_images_are_locked_beside_packages() -> None:
    both = lock().with_image("raspios-trixie", IMAGE)
    again = from_text(to_text(both), "pimu.lock")
    assert to_text(again) == to_text(both)
    assert again.get_image("raspios-trixie", "{}") == IMAGE
    assert again.get_image("raspios-trixie", '{"sha256":"another"}') is None
    assert again.with_resolution("x", lock().resolutions["base"]).images == again.images


def test_a_request_is_an_object_and_comes_back_as_its_text() -> None:
    made = Lock({"worker": Resolution(REQUEST, 7, ())}).with_file(
        "k3s", LockedFile(REQUEST, "http://x/k3s", "0" * 64, 1)
    )
    made = made.with_image("raspios-trixie", replace(IMAGE, request=REQUEST))
    told = json.loads(to_text(made))
    requests = told["resolutions"]["worker"], told["files"]["k3s"], told["images"]["raspios-trixie"]
    assert [one["request"] for one in requests] == [json.loads(REQUEST)] * 3
    assert from_text(to_text(made), "") == made
    odd = Lock({"worker": Resolution('{"b": 1,  "a": 2}', 7, ()), "base": Resolution("text", 7, ())})
    assert from_text(to_text(odd), "").resolutions == odd.resolutions


def test_a_lock_of_the_first_version_is_read_and_written_anew() -> None:
    old = (Path(__file__).parent / "locks/version-1.lock").read_text()
    lock = from_text(old, "pimu.lock")
    request = canonical({"url": "http://x/k3s", "sha256": ""})
    assert lock.get_file("k3s v1.36.5+k3s1 k3s", request) == LockedFile(request, "http://x/k3s", "d" * 64, 7)
    resolution = lock.resolutions["debian-trixie arm64 packages 0123456789ab"]
    assert json.loads(resolution.request)["packages"] == ["nmon", "tmux"]
    assert lock.get("debian-trixie arm64 packages 0123456789ab", resolution.request) == resolution
    assert lock.images["raspios-trixie"].request.startswith('{"sha256":"aaaa')
    assert from_text(to_text(lock), "pimu.lock") == lock
    assert "\\" in old
    assert "\\" not in to_text(lock)


def test_changes_are_made_where_nobody_else_has_made_one() -> None:
    entries = {name: Resolution(name, 1, ()) for name in "abcd"}
    old = Lock(entries, files={"k3s": LockedFile("{}", "http://x/k3s", "0" * 64, 1)}).with_tools({"tar": "1"})
    newer = Resolution("newer", 2, ())
    new = old.without("b", "k3s").with_resolution("a", newer).with_resolution("c", newer).with_tools({"tar": "2"})
    others = Resolution("others", 3, ())
    here = old.with_resolution("c", others).with_resolution("e", others).with_tools({"tar": "3"})
    merged = here.with_changes(old, new)
    assert merged.resolutions == {"a": newer, "c": others, "d": entries["d"], "e": others}
    assert merged.files == {}
    assert merged.tools == {"tar": ("1", "2", "3")}


def never() -> LockedImage:
    raise AssertionError("asked for although the lock may take nothing")


def test_tools_are_locked_by_all_their_versions_that_make_the_same() -> None:
    made = lock().with_tools({"mke2fs": "1.47.2", "tar": "1.34"}).with_tools({"tar": "1.35"})
    again = from_text(to_text(made), "pimu.lock")
    assert again.tools == {"mke2fs": ("1.47.2",), "tar": ("1.34", "1.35")}
    assert '\n    "mke2fs": ["1.47.2"],\n    "tar": ["1.34", "1.35"]\n' in to_text(made)
    here = {"mke2fs": "1.47.4", "tar": "1.35", "qemu-img": "10.0"}
    assert again.strangers(here) == {"mke2fs": "1.47.4"}  # of qemu-img nothing is said


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, name: str, text: str) -> None:
        self.lines.append(f"{name} {text}")


def test_another_version_of_a_tool_is_told_and_refused_when_locked(tmp_path: Path) -> None:
    path, cache, store, told = tmp_path / "pimu.lock", Cache(tmp_path / "cache"), Store(tmp_path / "cache"), Told()
    path.write_text(before := to_text(lock().with_tools({"mke2fs": "1.47.2", "tar": "1.34"})))
    here = {"mke2fs": "1.47.4", "tar": "1.34", "dpkg": "1.22"}

    resolver = Resolver(path, cache, store, told, offline=True)
    resolver.require_tools(here)
    said = "mke2fs 1.47.4 (locked: 1.47.2)"
    assert told.lines == [f"tools the image may have other bytes than with those of pimu.lock: {said}"]

    strict = Resolver(path, cache, store, told, offline=True, locked=True)
    with pytest.raises(ConfigurationError) as caught:
        strict.require_tools(here)
    assert str(caught.value) == (
        f"pimu.lock: was made with other versions of programs than this machine's: {said}\n"
        "  build without --locked; if the image is the same, `pimu-build lock --upgrade tools` locks both"
    )
    strict.keep_tools(here)
    assert path.read_text() == before

    resolver.keep_tools(here)
    assert from_text(path.read_text(), "").tools == {"dpkg": ("1.22",), "mke2fs": ("1.47.2",), "tar": ("1.34",)}


def test_a_package_of_another_day_is_looked_for_on_that_days_snapshot() -> None:
    newer = replace(deb("nmon"), epoch=1_700_086_400)
    source = SOURCE.model_copy(update={"uri": newer.archive, "snapshots": ("http://old/{timestamp}",)})
    old, new = deb_pins(Resolution("{}", 1_700_000_000, (deb("zstd"), newer)), [source])
    assert old.mirrors == ("http://old/20231114T221320Z/pool/main/zstd.deb",)
    assert new.mirrors == ("http://old/20231115T221320Z/pool/main/nmon.deb",)
    text = to_text(Lock({"x": Resolution("{}", 7, (newer, deb("zstd")))}))
    assert text.count('"epoch":') == 1 + 1  # the resolution's and one package's
    assert from_text(text, "").resolutions["x"].debs == (newer, deb("zstd"))


# The command ----------------------------------------------------------------------------------------------------------

Run = Callable[..., int]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def locked_image(project_folder: Path) -> str:
    """The pinned image of raspios-trixie, with a lock of an older pin; the host's tools are locked."""
    source = Project(project_folder).base("raspios-trixie").source
    assert isinstance(source, ImageSource)
    assert source.sha256 is not None
    made = Lock({"raspios-trixie arm64 packages 0123": Resolution(REQUEST, 7, (deb("nmon"),))})
    made = made.with_image("raspios-trixie", IMAGE).with_tools(tools.shaping_tools())
    (project_folder / "pimu.lock").write_text(to_text(made))
    return f"{posixpath.basename(source.urls[0])} (sha256 {source.sha256[:12]}...)"


@pytest.mark.disk
def test_an_image_whose_pin_has_changed_is_a_difference(
    pimu: Run, project_folder: Path, locked_image: str, capsys: Output
) -> None:
    """It and what is on it are left to the next build."""
    assert pimu("lock", "--upgrade", "raspios-trixie", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": "raspios-trixie arm64 packages 0123",
            "what": "packages",
            "old": "1 locked",
            "new": "what the next build finds",
        },
        {"name": "raspios-trixie", "what": "image", "old": "i.img.xz (sha256 aaaaaaaaaaaa...)", "new": locked_image},
    ]
    assert from_text((project_folder / "pimu.lock").read_text(), "").resolutions == {}
    assert pimu("lock", "--upgrade", "tools") == 0
    assert capsys.readouterr().out == "pimu.lock: the archives have nothing newer\n"


@pytest.mark.disk
def test_this_machines_tools_are_added(pimu: Run, project_folder: Path, capsys: Output) -> None:
    path = project_folder / "pimu.lock"
    path.write_text(to_text(Lock().with_tools({**tools.shaping_tools(), "mke2fs": "1.40"})))
    assert pimu("lock", "--upgrade", "tools") == 0
    here = tools.shaping_tools()["mke2fs"]
    assert capsys.readouterr().out == f"tools: mke2fs 1.40 -> 1.40, {here}\n"
    assert pimu("lock") == 0
    assert f"mke2fs 1.40 or {here}, mkfs.fat" in capsys.readouterr().out
    assert pimu("lock", "--json") == 0
    (locked,) = json.loads(capsys.readouterr().out)
    assert locked["versions"]["mke2fs"] == ["1.40", here]


def test_a_request_that_is_none_is_told(pimu: Run, project_folder: Path, capsys: Output) -> None:
    (project_folder / "pimu.lock").write_text(to_text(lock()))
    assert pimu("lock", "--upgrade") == 3
    assert "pimu.lock: is not a lock file (request)" in capsys.readouterr().err


def test_names_are_for_an_upgrade(pimu: Run, capsys: Output) -> None:
    assert pimu("lock", "nano") == 2
    assert "NAMEs are for --upgrade" in capsys.readouterr().err


def test_a_lock_that_is_no_text_is_told(pimu: Run, project_folder: Path, capsys: Output) -> None:
    (project_folder / "pimu.lock").write_bytes(b"\xff\xfe")
    assert pimu("lock") == pimu("fetch") == 3
    assert "pimu.lock: is not a lock file" in capsys.readouterr().err


def test_locked_takes_nothing_new(tmp_path: Path) -> None:
    """Neither packages nor images; the lock stays as it was."""
    path, cache, store = tmp_path / "pimu.lock", Cache(tmp_path / "cache"), Store(tmp_path / "cache")
    path.write_text(before := to_text(lock()))
    resolver = Resolver(path, cache, store, Silent(), offline=False, locked=True)
    with pytest.raises(ConfigurationError, match=r"pimu.lock: has no answer for worker as the profiles ask"):
        resolver.resolve("worker", sources=[SOURCE], architecture="arm64", packages=["tmux"], bootstrap=False)
    with pytest.raises(ConfigurationError, match="has no answer for raspios-trixie"):
        resolver.published(named_base("raspios-trixie", SOURCE_IMAGE), never)
    assert path.read_text() == before


def test_a_deb_that_has_left_the_mirror_comes_from_a_snapshot_of_the_locks_time(tmp_path: Path) -> None:
    content = b"a package"
    with serving() as site:
        site.pages["/archive/debian/20231114T221320Z/pool/main/x.deb"] = content
        sha256 = hashlib.sha256(content).hexdigest()
        gone = Deb("x", "1", "arm64", f"{site.url}/debian", "pool/main/x.deb", sha256, len(content))
        source = SOURCE.model_copy(
            update={"uri": f"{site.url}/debian", "snapshots": (f"{site.url}/archive/debian/{{timestamp}}",)}
        )
        cache, store = Cache(tmp_path / "cache"), Store(tmp_path / "cache")
        resolver = Resolver(tmp_path / "pimu.lock", cache, store, Silent(), offline=False)
        asked: dict[str, Any] = {"sources": [source], "architecture": "arm64", "packages": ["x"], "bootstrap": False}
        request = canonical(
            {
                "sources": [source.model_dump(exclude={"snapshots"})],
                "architecture": "arm64",
                "packages": ["x"],
                "status": hashlib.sha256(b"").hexdigest(),
                "bootstrap": False,
            }
        )
        resolver.lock = Lock({"worker": Resolution(request, 1_700_000_000, (gone,))})
        resolver.resolve("worker", **asked)
        assert cache.path(sha256).read_bytes() == content
        site.pages.clear()
        cache.path(sha256).unlink()
        with pytest.raises(DownloadError, match="404\n  the package has left the mirror: `pimu-build lock --upgrade`"):
            resolver.resolve("worker", **asked)


def test_an_empty_lock_is_a_lock() -> None:
    assert from_text(to_text(Lock()), "pimu.lock") == Lock()


def test_one_package_is_one_line() -> None:
    newer = lock().with_resolution("worker", Resolution('{"packages":["nmon"]}', 7, (deb("nmon", "17"),)))
    before, after = to_text(lock()).splitlines(), to_text(newer).splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert '"name":"nmon"' in changed[0][1]
    assert '"version":"17"' in changed[0][1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (to_text(lock()).replace('"version": 2', '"version": 3'), "is a lock of version 3, not 2"),
        ("", "is not a lock file"),
        ("<<<<<<< HEAD\n" + to_text(lock()), "is not a lock file"),
        ("[]", "is not a lock file"),
        ('{"version": 1}', "is not a lock file"),
        ('{"version": 1, "resolutions": []}', "is not a lock file"),
        (to_text(lock()).replace('"epoch": 7', '"epoch": "today"'), "is not a lock file"),
        (to_text(lock()).replace('"sha256":', '"md5":'), "is not a lock file"),
        (to_text(lock())[:-40], "is not a lock file"),
        (to_text(lock()).replace("a" * 64, "../" * 20), "is not a lock file (resolutions.base.debs.0.sha256: String"),
        (to_text(lock()).replace('"epoch": 7', '"epoch": 1e400'), "is not a lock file (resolutions.worker.epoch: "),
        ("[" * 100_000, "is not a lock file"),
    ],
)
def test_what_is_not_a_lock_is_an_error_that_says_what_to_do(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_text(text, "pimu.lock")
    assert str(caught.value).startswith(f"pimu.lock: {said}")
    assert caught.value.hint == "remove it; the next build writes it anew"
    assert caught.value.exit_code == 3


def test_an_answer_counts_for_its_request_only() -> None:
    assert lock().get("worker", '{"packages":["nmon"]}') == lock().resolutions["worker"]
    assert lock().get("worker", '{"packages":["nmon","vim"]}') is None
    assert lock().get("server", '{"packages":["nmon"]}') is None


def test_two_builds_lose_no_answer(tmp_path: Path) -> None:
    path, answers = tmp_path / "pimu.lock", lock().resolutions
    one, other = (Resolver(path, Cache(tmp_path), Store(tmp_path), Silent(), offline=True) for _ in range(2))
    one.keep("base", answers["base"])
    other.keep("worker", answers["worker"])
    assert path.read_text() == to_text(lock())


def test_an_upgrade_loses_nothing_that_a_build_locks_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, stores = tmp_path / "pimu.lock", (Cache(tmp_path), Store(tmp_path))
    write_lock(path, Lock(tools={"mke2fs": ("1.47.2",)}))
    pin = Pin("http://x/k3s", "0" * 64, 1)

    def while_upgrading() -> dict[str, str]:
        stores[0].files.mkdir()
        stores[0].path(pin.sha256).write_bytes(b"x")
        Resolver(path, *stores, Silent(), offline=False).file("k3s v1 k3s", "q", lambda: pin)
        return {"mke2fs": "1.47.3"}

    monkeypatch.setattr(tools, "shaping_tools", while_upgrading)
    changes = Relocker(path, *stores, Silent(), {}, ()).upgrade(("tools",))
    after = read_lock(path)
    assert after.files.keys() == {"k3s v1 k3s"}
    assert after.tools == {"mke2fs": ("1.47.2", "1.47.3")}
    assert [change.describe() for change in changes] == ["tools: mke2fs 1.47.2 -> 1.47.2, 1.47.3"]


@pytest.mark.parametrize("name", ["k3s v1.36.5+k3s1 k3s", "k3s"])
def test_a_locked_file_is_renewed_by_its_name_alone(pimu: Run, project_folder: Path, capsys: Output, name: str) -> None:
    path, file = project_folder / "pimu.lock", LockedFile("q", "http://x/k3s", "0" * 64, 1)
    write_lock(path, Lock().with_file("k3s v1.36.5+k3s1 k3s", file))
    assert pimu("lock", "--upgrade") == 0
    assert read_lock(path).files
    capsys.readouterr()
    assert pimu("lock", "--upgrade", name) == 0
    said = "k3s v1.36.5+k3s1 k3s: file k3s (sha256 000000000000...) -> what the next build finds\n"
    assert capsys.readouterr().out == said
    assert not read_lock(path).files


def test_canonical_has_one_spelling() -> None:
    assert canonical({"b": [1, "ü"], "a": None}) == canonical({"a": None, "b": [1, "ü"]}) == '{"a":null,"b":[1,"ü"]}'


def test_without_network_a_changed_request_is_an_error_and_the_lock_stays(tmp_path: Path) -> None:
    text = to_text(lock())
    (tmp_path / "pimu.lock").write_text(text)
    resolver = Resolver(tmp_path / "pimu.lock", Cache(tmp_path), Store(tmp_path), Silent(), offline=True)
    with pytest.raises(DownloadError, match=r"pimu.lock has no answer for worker\n  run once without --offline"):
        resolver.resolve("worker", sources=[SOURCE], architecture="arm64", packages=["vim"], bootstrap=False)
    assert (tmp_path / "pimu.lock").read_text() == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("archive", "file:///etc"),
        ("archive", "ftp://example.org/debian"),
        ("archive", "http://example.org/a b"),
        ("archive", "http://example.org/\r\nX-Header: y"),
        ("path", "pool/x.deb\r\n"),
        ("path", "pool/\x1b[2K.deb"),
        ("name", "../../etc/x"),
        ("name", "-o"),
        ("version", "1/../../x"),
        ("architecture", "../arm64"),
        ("sha256", "../" * 21 + "x"),
        ("size", -1),
    ],
)
def test_a_lock_names_nothing_but_packages_of_archives(key: str, value: object) -> None:
    data = json.loads(to_text(lock()))
    data["resolutions"]["worker"]["debs"][0][key] = value
    with pytest.raises(ConfigurationError, match=rf"is not a lock file \(resolutions.worker.debs.0.{key}"):
        from_text(json.dumps(data), "pimu.lock")


@pytest.mark.parametrize("url", ["file:///etc/shadow", "ftp://x/y", "http://x/\r\ny", "http://x/a b", "x"])
def test_a_lock_names_no_file_but_one_on_a_server(url: str) -> None:
    data = json.loads(to_text(lock().with_image("raspios-trixie", IMAGE)))
    data["images"]["raspios-trixie"]["url"] = url
    with pytest.raises(ConfigurationError, match="is not a lock file"):
        from_text(json.dumps(data), "pimu.lock")
