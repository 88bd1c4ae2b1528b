"""A published image, the stand-in of Raspberry Pi OS (trixie): unpacked, against xz, and read into a layer, against
guestfish.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from builder.base.imported import Importer
from builder.fetch import Cache
from builder.fetch.cache import sha256_of
from builder.fetch.unpacking import unpack
from builder.model.progress import Silent
from builder.model.sources import ImageSource
from builder.project import Project
from builder.store.products import Store
from tests.bench.measure import RUNS, Row, appliance, medians, no_kvm, say, seconds, shell
from tests.emulated import ROOT
from tests.standin import packed_image

BASE = "raspios-trixie"
TAR_OUT = "tar-out / {} xattrs:true numericowner:true"
READ = f"""
xz -dc -T0 "$1" >"$2"
guestfish --ro --format=raw -a "$2" <<COMMANDS
run
mount-ro /dev/sda1 /
{TAR_OUT.format("$2.boot.tar")}
umount /
mount-ro /dev/sda2 /
{TAR_OUT.format("$2.root.tar")}
COMMANDS
"""


def rows(work: Path, quick: bool) -> list[Row]:
    say("the stand-in of a published image, and a part of it in one block (minutes, the first time)")
    packed, single = packed_image("trixie"), work / "single.img.xz"
    shell('xz -dc -T0 "$1" | tail -c +600M | head -c 300M | xz -0 -T1 >"$2"', packed, single)
    runs = 3 if quick else 5
    unpacks = [unpacked("many blocks", packed, work, runs), unpacked("one block", single, work, runs)]
    return [*unpacks, *imported(packed, work, 1 if quick else 3)]


def unpacked(blocks: str, packed: Path, work: Path, runs: int) -> Row:
    say(f"unpack an .xz of {blocks}, and by xz")
    raw = work / "raw.img"
    pin = unpack(packed, raw, size=None, sha256=None, where=str(packed), progress=Silent())

    def by_us() -> float:
        raw.unlink(missing_ok=True)
        return seconds(lambda: unpack(packed, raw, size=None, sha256=pin, where=str(packed), progress=Silent()))

    def by_xz(options: str) -> float:
        raw.unlink(missing_ok=True)
        return seconds(lambda: shell(f'xz -dc {options} "$1" >"$2"', packed, raw))

    ours, plain, threads = medians(by_us, lambda: by_xz("-T1"), lambda: by_xz("-T0"), runs=runs)
    size = raw.stat().st_size
    raw.unlink()
    return Row(
        f"unpack {size / 1e6:.0f} MB of .img.xz, {blocks}, and hash the image (median of {runs})",
        f"{ours:.2f} s",
        f"{plain:.2f} s (xz -dc), {threads:.2f} s (xz -dc -T0), unhashed",
        f"{ours / plain:.2f} x, {ours / threads:.2f} x",
        "<= 1.0 x of xz -dc",
        ("builder.fetch.unpacking.unpack", "xz -dc -T1 FILE >IMAGE, as xz -dc is before 5.6", "xz -dc -T0 FILE >IMAGE"),
    )


def imported(packed: Path, work: Path, runs: int) -> list[Row]:
    say("read the image into a layer, and by guestfish (minutes)")
    base, cache = Project(ROOT).base(BASE), Cache(work / "cache")
    assert isinstance(base.source, ImageSource)
    sha256, size = sha256_of(packed), packed.stat().st_size
    known = {"sha256": sha256, "size": size, "unconfirmed": False, "extracted_size": None, "extracted_sha256": None}
    cache.files.mkdir(parents=True)
    cache.path(sha256).symlink_to(packed)

    def importer(store: Path) -> Importer:
        return Importer(cache, Store(store), Silent(), offline=True)

    locked = importer(work / "store").take(BASE, base.source.model_copy(update=known))
    stores = iter(work / f"store-{number}" for number in range(runs))

    def by_us() -> float:
        store = next(stores)
        return seconds(lambda: importer(store).read(BASE, base, locked))

    def by_guestfish() -> float:
        raw = work / "other.img"
        taken = seconds(lambda: shell(READ, packed, raw, env=appliance()))
        for path in work.glob("other.img*"):
            path.unlink()
        return taken

    cold, other = medians(by_us, by_guestfish, runs=runs)
    filled = importer(work / "store-0")
    warm = statistics.median(seconds(lambda: filled.read(BASE, base, locked)) for _ in range(RUNS))
    commands = (
        "builder.base.imported.Importer.read",
        f"xz -dc -T0 FILE >IMAGE; guestfish --ro -a IMAGE … {TAR_OUT.format('TAR')}",
    )
    slow = f"{other:.0f} s (xz -dc -T0, guestfish tar-out{no_kvm()})"
    first = f"import a base: unpack, read in the appliance, write the layer (median of {runs})"
    return [
        Row(first, f"{cold:.0f} s", slow, f"{cold / other:.2f} x", "", commands),
        Row("the same again, from the cache", f"{warm * 1000:.1f} ms", "", "", "", commands[:1]),
    ]
