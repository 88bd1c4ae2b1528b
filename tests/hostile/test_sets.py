"""A stranger's set: its manifest gets nothing of this machine, and is refused when no image can be as it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.errors import ConfigurationError
from builder.fetch.cache import sha256_of
from builder.flash.signed import signers_of
from builder.host.run import PATH, run
from builder.model.manifest import Manifest
from tests.fetch.test_signatures import make_key
from tests.flash.test_flash import content
from tests.hostile_manifest import CHUNK, FILE, MANIFEST, RECORD, SEED, SIZE, TOKEN, changed
from tests.loop_device import blank, loop_device
from tests.publish.test_signing import minisign_key
from tests.tiny_image import BOOT_START, ROOT_START, debugfs, make_image, manifest_of

DISK = 40 * 1024**2
SECRET = "a-secret-of-this-machine-0123456789"
Run = Callable[..., int]
Output = pytest.CaptureFixture[str]


def pending(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return changed(pending=[{**base, **changes}])


def asking(**secret: Any) -> dict[str, Any]:
    return changed(pending=[{**FILE, "secret": {**TOKEN, **secret}}])


MANIFESTS: dict[str, tuple[dict[str, Any], str]] = {
    "no chunks": (changed(image__chunks=[]), "image.chunks has 0 digests"),
    "a chunk too few": (changed(image__chunks=["1" * 64] * 5), "image.chunks has 5 digests"),
    "a chunk too many": (changed(image__chunks=["1" * 64] * 7), "image.chunks has 7 digests"),
    "other chunks": (changed(image__chunk_size=CHUNK // 2), "image.chunk_size"),
    "no bytes": (changed(image__size=0, image__chunks=[]), "image.size"),
    "a negative size": (changed(image__size=-1), "image.size"),
    "a size beyond all disks": (changed(image__size=2**63), "image.size"),
    "a size of no sectors": (changed(image__size=SIZE - 1), "no number of sectors"),
    "allocated beyond the end": (changed(image__allocated=[[0, SIZE + 4096]]), "out of the image's"),
    "allocated backwards": (changed(image__allocated=[[8192, 4096]]), "out of order"),
    "allocated twice": (changed(image__allocated=[[0, 8192], [4096, 12288]]), "out of order"),
    "allocated in disorder": (changed(image__allocated=[[8192, 12288], [0, 4096]]), "out of order"),
    "allocated before the beginning": (changed(image__allocated=[[-4096, 4096]]), "out of order"),
    "allocated in half blocks": (changed(image__allocated=[[0, 1000]]), "no whole blocks"),
    "volumes that overlap": (changed(layout__root_start=4194304), "boot volume that ends at 5242880"),
    "a root volume beyond the end": (changed(layout__root_size=SIZE), "root volume that ends at"),
    "a root volume at nothing": (changed(layout__root_size=0), "layout.root_size"),
    "a volume between sectors": (changed(layout__boot_start=1048577), "no multiple of a sector"),
    "a volume in the table": (changed(layout__boot_start=0), "layout.boot_start"),
    "an id of words": (changed(layout__disk_id="0xdeadbeef\n"), "layout.disk_id"),
    "a node that is a path": (changed(node="../PUBPWN"), "node "),
    "a node of two lines": (changed(node="node-003\nroot"), "node "),
    "a node without a name": (changed(node=""), "node "),
    "a plan of something else": (changed(plan={"settings": ["cluster"]}), "plan.settings is no object"),
    "a file named twice": (changed(files=MANIFEST["files"] * 2), "files names one path twice"),  # type: ignore[operator]
    "a file out of its volume": (changed(files__0__path="/../etc/shadow"), "files.0.path"),
    "a file without a beginning": (changed(files__0__path="etc/gone"), "files.0.path"),
    "an origin that moves the cursor": (changed(files__0__origin="\x1b[2K\x1b[1A"), "files.0.origin"),
    "a feature without an end": (changed(files__0__feature="x" * 2000), "files.0.feature"),
    "a seed file that is a path of the host": (pending(SEED, name="/etc/cron.d/evil"), "pending.0.seed.name"),
    "a seed file that climbs": (pending(SEED, name="../../precious"), "pending.0.seed.name"),
    "a seed file in a folder": (pending(SEED, name="a/b"), "pending.0.seed.name"),
    "a seed file that is a mask": (pending(SEED, name="*"), "pending.0.seed.name"),
    "a seed file that is an option": (pending(SEED, name="-i"), "pending.0.seed.name"),
    "a seed file with a final dot": (pending(SEED, name="k3s-token."), "pending.0.seed.name"),
    "a seed elsewhere": (pending(SEED, path="/home/pimu/seed.img"), "no place where a secret belongs"),
    "a secret where the web server looks": (pending(FILE, path="/srv/exfil"), "no place where a secret belongs"),
    "a secret beside its place": (pending(FILE, path="/etc/rancher/../../srv/exfil"), "pending.0.file.path"),
    "a secret for all": (pending(FILE, mode=0o644), "has the mode 0644"),
    "a secret that runs as root": (pending(FILE, mode=0o4700), "has the mode 4700"),
    "a secret of nobody": (pending(FILE, uid=-1), "pending.0.file.uid"),
    "a secret in another database": (pending(RECORD, path="/etc/passwd"), "pending.0.record.path"),
    "a secret as a user's name": (
        pending(RECORD, fields=[RECORD["fields"][1], *RECORD["fields"][1:]]),
        "no line of shadow",
    ),
    "a line in the line": (pending(RECORD, fields=["root:x:0\n", *RECORD["fields"][1:]]), "pending.0.record.fields"),
    "two secrets for one place": (changed(pending=[SEED, {**SEED, "name": "K3S-TOKEN"}]), "two secrets for one place"),
    "a thousand secrets": (changed(pending=[FILE] * 1000), "pending"),
    "a slot without a name": (asking(reference=""), "no printable text"),
    "a slot that repaints the screen": (asking(reference="file:x\x1b[2K\x1b[1A"), "no printable text"),
    "a slot without an end": (asking(reference="file:" + "x" * 600), "no printable text"),
    "authorities as a whole": (asking(kind="k3s-ca"), "no part of a cluster's certificate authorities"),
    "authorities' own key": (asking(kind="k3s-ca", purpose="root-ca.key"), "no part of a cluster's"),
}


def test_the_manifest_that_the_others_are_made_of_is_good() -> None:
    made = Manifest.from_json(json.dumps(MANIFEST), "x")
    assert Manifest.from_json(made.to_json(), "x") == made


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_of_no_image_is_refused(case: str) -> None:
    data, said = MANIFESTS[case]
    with pytest.raises(ConfigurationError) as caught:
        Manifest.from_json(json.dumps(data), "node-003.manifest.json")
    assert said in caught.value.message
    assert (caught.value.where, bool(caught.value.hint)) == ("node-003.manifest.json", True)
    assert len(str(caught.value)) < 1000


TEXTS = {
    "the same key twice": ('{"node": "node-003", "node": "node-004"}', "has the key 'node' twice"),
    "a key twice, deep inside": ('{"plan": {"a": [{"b": 1, "b": 2}]}}', "has the key 'b' twice"),
    "nested without an end": ('{"plan": ' + "[" * 100_000 + "]" * 100_000 + "}", "is nested deeper than 32 levels"),
    "objects without an end": ('{"a": ' * 5000 + "1" + "}" * 5000, "is nested deeper than 32 levels"),
    "no number": ('{"image": {"size": NaN}}', "has the number NaN"),
    "cut off": ('{"node": "node-003"', "is not a manifest: "),
}


@pytest.mark.parametrize("case", TEXTS)
def test_json_with_a_second_meaning_is_refused(case: str) -> None:
    text, said = TEXTS[case]
    with pytest.raises(ConfigurationError, match="is not a manifest") as caught:
        Manifest.from_json(text, "x")
    assert said in caught.value.message


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with loop_device(blank(tmp_path / "disk", DISK)) as device:
        yield device


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """An image whose manifest asks for a secret."""
    folder = tmp_path / "set"
    folder.mkdir()
    image = folder / "node-003.img"
    manifest = make_image(image)
    text = json.loads(manifest.to_json())
    text["pending"] = [FILE]
    (folder / "node-003.manifest.json").write_text(json.dumps(text))
    return image


def flash(command_line: Run, image: Path, disk: Path, *words: str) -> int:
    project = image.parent.parent / "project"
    project.mkdir(exist_ok=True)
    return command_line("flash", str(image), str(disk), "--expect-serial", str(DISK), "--project", str(project), *words)


@pytest.mark.disk
@pytest.mark.parametrize("reference", ["env:GITHUB_TOKEN", "file:{}", "file:~/token", "prompt"])
def test_a_reference_of_a_manifest_is_a_slot_and_never_looked_up(
    reference: str, published: Path, disk: Path, command_line: Run, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = published.parent.parent / "token"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    monkeypatch.setenv("HOME", str(secret.parent))
    manifest = published.with_suffix(".manifest.json")
    text = json.loads(manifest.read_text())
    text["pending"][0]["secret"] = {"reference": reference.format(secret), "kind": "k3s-token"}
    manifest.write_text(json.dumps(text))

    assert flash(command_line, published, disk) == 3

    said = capsys.readouterr().err
    assert "is a k3s-token that the image lacks, and was not given" in said
    assert "and puts it into /etc/rancher/node/password" in said
    assert SECRET not in said
    assert not content(disk).strip(b"\0")


@pytest.mark.disk
def test_a_slot_is_filled_by_a_file_that_the_person_names(
    published: Path, disk: Path, command_line: Run, capsys: Output, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.touch(mode=0o600)
    given.write_text(SECRET)
    assert flash(command_line, published, disk, "--token-file", str(given)) == 0
    said = capsys.readouterr().err
    asked = "asks for  k3s-token 'file:profiles/access/k3s-agent-token', and puts it into /etc/rancher/node/password"
    assert asked in said
    assert said.index(asked) < said.index("becomes")
    shown = run(["debugfs", "-R", "cat /etc/rancher/node/password", f"{disk}?offset={5 * 1024**2}"]).text
    assert shown == f"{SECRET}\n"


@pytest.mark.disk
def test_a_seed_whose_file_is_a_path_of_the_host_overwrites_nothing(
    published: Path, disk: Path, command_line: Run, tmp_path: Path
) -> None:
    precious, given = tmp_path / "precious", tmp_path / "given"
    precious.write_text("of this machine")
    given.touch(mode=0o600)
    given.write_text(SECRET)
    seed = tmp_path / "seed.img"
    run(["mkfs.fat", "-C", seed, "1024"])
    debugfs(
        published, *(f"mkdir {path}" for path in ("/usr", "/usr/share", "/usr/share/pimu", "/usr/share/pimu/guest"))
    )
    debugfs(published, f"write {seed} /usr/share/pimu/guest/seed.img")
    manifest = published.with_suffix(".manifest.json")
    text = json.loads(manifest_of(published).to_json())
    text["pending"] = [{**SEED, "name": str(precious)}]
    manifest.write_text(json.dumps(text))
    assert flash(command_line, published, disk, "--token-file", str(given)) == 3
    assert precious.read_text() == "of this machine"
    assert not content(disk).strip(b"\0")


@pytest.fixture
def touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Tools of file systems that were started from now on: each only says so, in place of its work."""
    alarms, rung = tmp_path / "alarms", tmp_path / "rung"
    alarms.mkdir()
    for name in ("debugfs", "e2fsck", "fsck.vfat", "dumpe2fs", "mcopy", "mdir", "qemu-system-of-libguestfs"):
        (alarms / name).write_text(f"#!/bin/sh\necho {name} >> {rung}\nexit 1\n")
        (alarms / name).chmod(0o755)
    monkeypatch.setattr("builder.host.run.PATH", f"{alarms}:{PATH}")
    monkeypatch.setenv("LIBGUESTFS_HV", str(alarms / "qemu-system-of-libguestfs"))
    return lambda: sorted(set(rung.read_text().split())) if rung.exists() else []


def corrupt(disk: Path, offset: int) -> None:
    with disk.open("r+b") as file:
        file.seek(offset)
        found = file.read(1)
        file.seek(offset)
        file.write(bytes([found[0] ^ 1]))


@pytest.mark.disk
@pytest.mark.parametrize("offset", [ROOT_START + 1024, BOOT_START + 40], ids=["root", "boot"])
def test_no_tool_of_file_systems_looks_at_an_image_that_is_not_its_manifests(
    offset: int, published: Path, command_line: Run, capsys: Output, touched: Callable[[], list[str]]
) -> None:
    corrupt(published, offset)
    assert command_line("verify", str(published)) == 8
    assert "sha256 is " in capsys.readouterr().err
    assert touched() == []


@pytest.mark.disk
def test_nor_at_a_disk_that_differs_where_no_secret_belongs(
    published: Path, disk: Path, command_line: Run, capsys: Output, tmp_path: Path, touched: Callable[[], list[str]]
) -> None:
    (tmp_path / "output").mkdir()
    shutil.copy(published.with_suffix(".manifest.json"), tmp_path / "output")
    disk.write_bytes(published.read_bytes())
    corrupt(disk, BOOT_START + 40)
    corrupt(disk, ROOT_START + 1024)
    assert command_line("verify", str(disk), "node-003", "--project", str(tmp_path)) == 8
    said = capsys.readouterr().err
    assert "disk bytes 0-4194303: sha256" in said
    assert touched() == []


@pytest.mark.disk
def test_a_disk_with_its_secrets_is_looked_into_by_the_appliance_alone(
    published: Path, disk: Path, command_line: Run, capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given"
    given.touch(mode=0o600)
    given.write_text(SECRET)
    assert flash(command_line, published, disk, "--token-file", str(given)) == 0
    (tmp_path / "output").mkdir()
    shutil.copy(published.with_suffix(".manifest.json"), tmp_path / "output")
    alarms = tmp_path / "alarms"
    alarms.mkdir()
    for name in ("debugfs", "e2fsck"):
        (alarms / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/rung\nexit 1\n")
        (alarms / name).chmod(0o755)
    monkeypatch.setattr("builder.host.run.PATH", f"{alarms}:{PATH}")

    assert command_line("verify", str(disk), "node-003", "--project", str(tmp_path)) == 0

    assert " were changed for its secrets, 2 file systems)" in capsys.readouterr().out
    assert not (tmp_path / "rung").exists()
    corrupt(disk, ROOT_START + 17 * 1024**2)
    assert command_line("verify", str(disk), "node-003", "--project", str(tmp_path)) == 8
    assert "disk bytes " in capsys.readouterr().err


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """publisher.key and .pub of minisign, publisher.asc of OpenPGP, and a stranger's."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("publisher", "stranger"):
        made = minisign_key(folder)
        made.with_suffix(".pub").rename(folder / f"{name}.pub")
        made.rename(folder / f"{name}.key")
        key = make_key(folder / name, f"{name}@example.org")
        (folder / f"{name}.asc").write_bytes(key.public())
    return folder


class TestSigned:
    """The chain: signature, SHA256SUMS, image and manifest."""

    pytestmark = pytest.mark.disk

    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        folder = tmp_path / "set"
        folder.mkdir()
        image = folder / "node-003.img"
        (folder / "node-003.manifest.json").write_text(make_image(image).to_json())
        return image

    def sign(self, image: Path, keys: Path, form: str, *, by: str = "publisher") -> None:
        sums = image.with_name("SHA256SUMS")
        names = ("node-003.img", "node-003.manifest.json")
        sums.write_text("".join(f"{sha256_of(image.with_name(name))}  {name}\n" for name in names))
        if form == "minisign":
            run(["minisign", "-S", "-s", keys / f"{by}.key", "-m", sums])
        else:
            run(["gpg", "--homedir", keys / by, "--batch", "--armor", "--detach-sign", sums])

    def believe(self, image: Path, key: Path) -> None:
        folder = image.parent.parent / "project/profiles/signers"
        folder.mkdir(parents=True)
        shutil.copy(key, folder)

    @pytest.mark.parametrize(("form", "key"), [("minisign", "publisher.pub"), ("gpg", "publisher.asc")])
    def test_who_signed_is_said_before_the_question(
        self, form: str, key: str, image: Path, keys: Path, disk: Path, command_line: Run, capsys: Output
    ) -> None:
        self.sign(image, keys, form)
        self.believe(image, keys / key)
        assert flash(command_line, image, disk, "--require-signature") == 0
        assert f"signed    by {image.parent.parent}/project/profiles/signers/{key}" in capsys.readouterr().err

    @pytest.mark.parametrize(("form", "key"), [("minisign", "publisher.pub"), ("gpg", "publisher.asc")])
    def test_a_key_on_the_command_line_counts_alone(
        self, form: str, key: str, image: Path, keys: Path, disk: Path, command_line: Run
    ) -> None:
        self.sign(image, keys, form)
        self.believe(image, keys / key.replace("publisher", "stranger"))
        assert flash(command_line, image, disk, "--signer", str(keys / key.replace("publisher", "stranger"))) == 7
        assert not content(disk).strip(b"\0")
        assert flash(command_line, image, disk, "--signer", str(keys / key)) == 0

    def test_an_unsigned_set_is_said_to_be_so(self, image: Path, disk: Path, command_line: Run, capsys: Output) -> None:
        assert flash(command_line, image, disk) == 0
        assert "signed    by nobody: there is no SHA256SUMS beside it" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("case", "said"),
        [
            ("unsigned", "by nobody: there is no SHA256SUMS"),
            ("sums alone", "by nobody: SHA256SUMS has no signature"),
            ("signed by a stranger", "by none of the 1 keys that you believe"),
            ("nobody is believed", "by somebody unknown"),
            ("other sums", "is a bad signature by"),
            ("other sums for gpg", "is a bad signature by"),
            ("another image", "node-003.img: is not the file that"),
            ("another manifest", "node-003.manifest.json: is not the file that"),
            ("an image that is not listed", "node-003.img: is not among the files that"),
            ("an image that is listed twice", "node-003.img: is not the file that"),
        ],
    )
    def test_a_chain_with_a_gap_costs_no_disk(
        self, case: str, said: str, image: Path, keys: Path, disk: Path, command_line: Run, capsys: Output
    ) -> None:
        form = "gpg" if "gpg" in case else "minisign"
        sums = image.with_name("SHA256SUMS")
        if case != "unsigned":
            self.sign(image, keys, form, by="stranger" if case == "signed by a stranger" else "publisher")
        if case != "nobody is believed":
            self.believe(image, keys / ("publisher.asc" if form == "gpg" else "publisher.pub"))
        if case == "sums alone":
            image.with_name("SHA256SUMS.minisig").unlink()
        if case.startswith("other sums"):
            sums.write_text(sums.read_text().replace("node-003.img", "node-004.img"))
        if case == "another image":
            with image.open("r+b") as file:
                file.write(b"!")
        if case == "another manifest":
            manifest = image.with_suffix(".manifest.json")
            manifest.write_text(json.dumps(json.loads(manifest.read_text())))
        if case.endswith(("not listed", "listed twice")):
            line = f"{sha256_of(image)}  node-003.img\n"
            listed = sums.read_text()
            sums.write_text(listed.replace(line, "" if "not" in case else f"{line}{'0' * 64}  node-003.img\n"))
            image.with_name("SHA256SUMS.minisig").unlink()
            run(["minisign", "-S", "-s", keys / "publisher.key", "-m", sums])

        assert flash(command_line, image, disk, "--require-signature") == 7

        assert said in capsys.readouterr().err
        assert not content(disk).strip(b"\0")

    def test_a_file_of_two_keys_is_no_signer(
        self, image: Path, keys: Path, disk: Path, command_line: Run, capsys: Output, tmp_path: Path
    ) -> None:
        self.sign(image, keys, "gpg")
        two = tmp_path / "two.asc"
        two.write_bytes((keys / "stranger.asc").read_bytes() + (keys / "publisher.asc").read_bytes())
        assert flash(command_line, image, disk, "--signer", str(two)) == 3
        assert "public keys, and one is wanted" in capsys.readouterr().err
        assert not content(disk).strip(b"\0")


def test_a_folder_of_signers_that_leads_out_of_the_project_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "key.pub").write_text("untrusted comment: a stranger's key\n")
    (tmp_path / "project/profiles").mkdir(parents=True)
    (tmp_path / "project/profiles/signers").symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="is a symlink"):
        signers_of(tmp_path / "project", None)
