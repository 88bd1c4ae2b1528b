"""Helper machines that attack the build host: by their network, their serial line, their disks' headers and holes."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builder import limits
from builder.base.volumes import import_layers
from builder.boot.machine import scratch_disk
from builder.boot.reach import Access, network_of
from builder.errors import BuildError, ConfigurationError, DownloadError
from builder.fs.qcow2 import read_qcow2
from builder.guest.mirror import Mirror
from builder.host.qmp import Qmp
from builder.host.run import kill, run, start
from builder.machines.confined import SANDBOX, confined
from builder.machines.handed import Handed
from builder.machines.network import Place, private_network
from builder.machines.pouring import Pouring
from builder.machines.serial_line import SerialLine
from builder.model.bridge import StaticAddress
from builder.model.progress import Silent
from tests.loopback import Request, Site, serving
from tests.tiny_image import ROOT_SIZE, make_image, tiny_base

pytestmark = pytest.mark.disk

MIB = 1 << 20

# ---- the network -----------------------------------------------------------------------------------------------

TRY = """
import socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    try:
        connection = socket.create_connection((host, int(port)), 3)
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(place, connection.recv(12).decode())
    except OSError as error:
        print(place, "-")
"""


def own_address() -> str:
    """The address of this host in its LAN; the loopback's where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as opened:
        opened.pages["/"] = b"a service of the host"
        opened.pages["/alpine/v3.22/main/x86_64/a.apk"] = b"a package"
        opened.pages["/alpine/v3.22/main/x86_64/lib+c~1.apk"] = b"another"
        opened.pages["/secret"] = b"secret"
        yield opened


def test_a_program_in_a_machines_network_reaches_what_is_named_and_nothing_else(site: Site) -> None:
    with serving() as other, network_of(Access((Place("127.0.0.1", site.server_port),)), None) as (network, _, _):
        other.pages["/"] = b"another service"
        places = [f"127.0.0.1:{site.server_port}", f"127.0.0.1:{other.server_port}", f"{own_address()}:22"]
        places += ["10.0.2.2:80", "192.0.2.1:80", "169.254.169.254:80", "8.8.8.8:53"]
        said = run([*network.enter, *confined(), "/usr/bin/python3", "-c", TRY, *places]).text.splitlines()
    assert said == [f"{places[0]} HTTP/1.0 200", *(f"{place} -" for place in places[1:])]
    assert other.asked.total() == 0


def test_a_closed_network_is_never_the_hosts() -> None:
    """Even for a program that enters it at once."""
    for _ in range(5):
        with network_of(Access(), None) as (network, _, _):
            inside = run([*network.enter, *confined(), "readlink", "/proc/self/ns/net"]).text.strip()
            assert inside != str(Path("/proc/self/ns/net").readlink())
            assert run([*network.enter, "ip", "-o", "link"]).text.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="takes rights away from itself: needs root")
def test_a_host_without_namespaces_is_told_of_and_starts_nothing() -> None:
    script = """
        from builder.boot.reach import CLOSED, network_of
        from builder.errors import MissingToolError
        try:
            with network_of(CLOSED, None) as (network, _, _):
                print("started in", network.enter)
        except MissingToolError as error:
            print(error.message, "--network open" in error.hint)
    """
    argv = [
        "setpriv",
        "--bounding-set=-sys_admin",
        "--inh-caps=-all",
        "--",
        sys.executable,
        "-c",
        textwrap.dedent(script),
    ]
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert run(argv, env=root).text == "this kernel lets us have no network namespace of our own True\n"


def test_nothing_is_left_when_a_machines_network_ends(site: Site) -> None:
    before = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    with network_of(Access((Place("127.0.0.1", site.server_port),)), None) as (network, _, outer):
        assert network.enter
        socket.create_connection(("127.0.0.1", outer)).close()
    assert {entry.name for entry in Path("/proc/self/fd").iterdir()} == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", outer))
    assert run([*network.enter, "true"], check=False).returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its rights up")
def test_a_confined_program_has_no_rights_of_roots(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("secret")
    private.chmod(0o600)
    tmp_path.chmod(0o755)
    script = f"""
        cat {private} && echo read; echo x >>{private} && echo wrote; id -u; id -G; kill -0 {os.getpid()} && echo killed
        cat /proc/{os.getpid()}/environ >/dev/null && echo spied; mknod {tmp_path}/sda b 8 0 && echo device
        grep -E '^(CapEff|NoNewPrivs):' /proc/self/status
    """
    said = run([*confined(), "sh", "-c", script]).text.split()
    assert said[0].isdecimal()
    assert 61184 <= int(said[0]) < 65520
    assert said[1:] == [said[0], "NoNewPrivs:", "1", "CapEff:", "0000000000000000"] or said[1:] == [
        *(said[0], "CapEff:", "0000000000000000", "NoNewPrivs:", "1")
    ]
    assert private.read_text() == "secret"


@pytest.mark.parametrize(
    "place",
    ["10.0.2.99:80", "10.0.2.2:443", "127.0.0.1:2222"],
)
def test_a_place_that_a_machine_cannot_be_given_is_refused(place: str) -> None:
    address, _, port = place.rpartition(":")
    with (
        pytest.raises(ConfigurationError, match=rf"^{place}: is "),
        network_of(Access((Place(address, int(port)),)), None),
    ):
        pass


def test_the_network_of_a_fixed_address_is_the_pis_own_too() -> None:
    static = StaticAddress(address="192.168.7.3/24", gateway="192.168.7.1", dns=("192.168.7.1",))
    with (
        pytest.raises(ConfigurationError, match=r"192\.168\.7\.10:6443: is in the Pi's own network 192\.168\.7\.0/24"),
        network_of(Access((Place("192.168.7.10", 6443),)), static),
    ):
        pass


@pytest.mark.parametrize(
    "text",
    [
        *("k3s.lan:6443", "10.1.2.3", "10.1.2.3:", "10.1.2.3:0", "10.1.2.3:65536", "10.1.2.3:-1", "[::1]:22", "::1:22"),
        *("0.0.0.0:22", "224.0.0.1:22", "169.254.169.254:80", "127.0.0.2:22", "10.1.2.3:22,hostfwd=tcp::1-:2", "a:b:1"),
    ],
)
def test_reach_takes_one_address_and_one_port(
    text: str, command_line: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "x.img").touch()
    assert command_line("boot", str(tmp_path / "x.img"), "--reach", text) == 2
    assert repr(text) in capsys.readouterr().err


def test_an_open_network_and_a_place_in_it_contradict(
    command_line: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "x.img").touch()
    assert command_line("boot", str(tmp_path / "x.img"), "--network", "open", "--reach", "10.1.2.3:80") == 2
    assert "leave out --reach" in capsys.readouterr().err


# ---- the installer's mirror ------------------------------------------------------------------------------------


def asked(mirror: Mirror, request: bytes) -> bytes:
    """The answer to a request that a machine sends to its proxy."""
    with private_network({Place("127.0.0.1", 3128): mirror.serve}) as network:
        send = (
            "import socket,sys\nc=socket.create_connection(('127.0.0.1',3128),30)\nc.sendall(sys.stdin.buffer.read())\n"
        )
        send += "c.shutdown(1)\nwhile d:=c.recv(65536): sys.stdout.buffer.write(d)"
        return run([*network.enter, "/usr/bin/python3", "-c", send], input=request, timeout=120, check=False).stdout


@pytest.mark.parametrize("path", ["/v3.22/main/x86_64/a.apk", "/v3.22/main/x86_64/lib%2Bc~1.apk"])
def test_the_mirrors_own_files_are_served(path: str, site: Site) -> None:
    answer = asked(Mirror(f"{site.url}/alpine", Silent()), f"GET {site.url}/alpine{path} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.0 200")
    assert answer.endswith((b"\r\n\r\na package", b"\r\n\r\nanother"))


@pytest.mark.parametrize(
    "line",
    [
        "GET SITE/secret",
        "GET SITE/alpine/../secret",
        "GET SITE/alpine/v3.22/../../secret",
        "GET SITE/alpine/%2e%2e/secret",
        "GET SITE/alpine/%252e%252e/secret",
        "GET SITE/alpine/..%2fsecret",
        "GET SITE/alpine\\..\\secret",
        "GET SITE/alpine/a.apk?x=/secret",
        "GET SITE/alpine/a.apk#x",
        "GET SITE/alpine//secret",
        "GET SITE/alpinesecret",
        "GET /alpine/v3.22/main/x86_64/a.apk",
        "GET http://127.0.0.1:OTHER/alpine/v3.22/main/x86_64/a.apk",
        "GET http://localhost:PORT/alpine/v3.22/main/x86_64/a.apk",
        "GET http://user@127.0.0.1:PORT/alpine/v3.22/main/x86_64/a.apk",
        "GET http://169.254.169.254/latest/meta-data",
        "GET file:///etc/passwd",
        "GET https://127.0.0.1:PORT/alpine/v3.22/main/x86_64/a.apk",
        "GET http://127.0.0.1:99999/alpine/a.apk",
        "POST SITE/alpine/v3.22/main/x86_64/a.apk",
        "PUT SITE/alpine/v3.22/main/x86_64/a.apk",
        "CONNECT 127.0.0.1:PORT",
        "CONNECT 127.0.0.1:22",
    ],
)
def test_the_proxy_serves_nothing_else(line: str, site: Site) -> None:
    with serving() as other:
        text = line.replace("SITE", site.url).replace("PORT", str(site.server_port))
        text = text.replace("OTHER", str(other.server_port))
        answer = asked(Mirror(f"{site.url}/alpine", Silent()), f"{text} HTTP/1.1\r\n\r\n".encode())
        assert answer.split()[1] in (b"403", b"501")
        assert site.asked.total() == other.asked.total() == 0


@pytest.mark.parametrize("place", ["127.0.0.1:OTHER", "localhost:PORT", "127.0.0.1", "127.0.0.1:22", "[::1]:PORT"])
def test_a_tunnel_leads_to_the_mirror_alone(place: str, site: Site) -> None:
    with serving() as other:
        text = place.replace("OTHER", str(other.server_port)).replace("PORT", str(site.server_port))
        mirror = Mirror(f"https://127.0.0.1:{site.server_port}/alpine", Silent())
        assert asked(mirror, f"CONNECT {text} HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n".encode()).split()[1] == b"403"
        assert site.asked.total() == other.asked.total() == 0


def test_a_tunnel_to_the_mirror_works(site: Site) -> None:
    mirror = Mirror(f"https://127.0.0.1:{site.server_port}/alpine", Silent())
    line = f"CONNECT 127.0.0.1:{site.server_port} HTTP/1.1\r\n\r\n"
    send = "import socket,sys\nc=socket.create_connection(('127.0.0.1',3128),30)\nc.sendall(sys.argv[1].encode())\n"
    send += "print(c.recv(99).decode())\nc.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
    send += "while d:=c.recv(65536): sys.stdout.buffer.write(d)"
    with private_network({Place("127.0.0.1", 3128): mirror.serve}) as network:
        said = run([*network.enter, "/usr/bin/python3", "-c", send, line], timeout=60).stdout
    assert b"a service of the host" in said


def test_a_mirror_that_sends_elsewhere_is_not_followed(site: Site) -> None:
    with serving() as other:
        other.pages["/loot"] = b"loot"
        site.pages["/alpine/x.apk"] = lambda request: request.reply(b"", status=302, Location=f"{other.url}/loot")
        answer = asked(Mirror(f"{site.url}/alpine", Silent()), f"GET {site.url}/alpine/x.apk HTTP/1.1\r\n\r\n".encode())
        assert answer.split()[1] == b"502"
        assert other.asked.total() == 0


def test_a_mirror_without_an_end_is_cut_off(site: Site) -> None:
    def endless(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(bytes(1 << 16))

    site.pages["/alpine/x.apk"] = endless
    mirror = Mirror(f"{site.url}/alpine", Silent(), most=MIB)
    answer = asked(mirror, f"GET {site.url}/alpine/x.apk HTTP/1.1\r\n\r\n".encode())
    assert len(answer) < 2 * MIB


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "0"])
def test_a_name_that_leads_to_this_host_is_no_mirror(host: str, site: Site) -> None:
    url = f"http://{host}:{site.server_port}/alpine"
    answer = asked(Mirror(url, Silent()), f"GET {url}/v3.22/main/x86_64/a.apk HTTP/1.1\r\n\r\n".encode())
    assert answer.split()[1] == b"502"
    assert site.asked.total() == 0


@pytest.mark.parametrize(
    "url", ["ftp://host/alpine", "file:///etc", "http:///alpine", "http://u:p@host/", "http://h/?a"]
)
def test_what_is_no_mirror_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of a mirror"):
        Mirror(url, Silent())


# ---- the serial line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [b"x" * 65536, b"a line\n" * 9000, b"\x1b[2J" * 9000, b"\n" * 65536], ids=len)
def test_a_serial_line_that_never_ends_is_cut_off(chunk: bytes, tmp_path: Path) -> None:
    line = SerialLine(tmp_path / "serial.log", limit=MIB)
    theirs = socket.socket(fileno=os.dup(line.theirs.fileno()))
    line.theirs.close()
    begun = time.monotonic()
    with suppress(BrokenPipeError):
        while time.monotonic() < begun + 60:
            theirs.sendall(chunk)
            line.text()
    line.finish()
    assert line.overflowed
    assert len(line.text()) <= MIB
    assert (tmp_path / "serial.log").stat().st_size == MIB
    line.close()
    theirs.close()


# ---- published disks -------------------------------------------------------------------------------------------


def patched(offset: int, form: str, value: int) -> Callable[[Path], None]:
    def change(image: Path) -> None:
        with image.open("r+b") as file:
            file.seek(offset)
            file.write(struct.pack(form, value))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (patched(4, ">I", 1), "is of version 1"),
        (patched(4, ">I", 4), "is of version 4"),
        (patched(8, ">Q", 0x200), "it names another file"),
        (patched(20, ">I", 0), r"clusters of 2\^0 bytes"),
        (patched(20, ">I", 63), r"clusters of 2\^63 bytes"),
        (patched(24, ">Q", 1 << 62), "larger than the profile's"),
        (patched(24, ">Q", 20 << 30), f"and {limits.CLOUD_IMAGE} are the most"),
        (patched(32, ">I", 2), "is encrypted"),
        (patched(36, ">I", 0x3FFFFFF), "has a table of 67108863 entries"),
        (patched(56, ">I", 0xFFFFFFFF), "clusters of counters"),
        (patched(60, ">I", 60000), "has 60000 snapshots"),
        (patched(72, ">Q", 1 << 2), "it names another file"),
        (patched(72, ">Q", 1 << 1), "needs features"),
        (patched(72, ">Q", 1 << 40), "needs features"),
        (patched(96, ">I", 7), r"counters of 2\^7 bits"),
        (lambda image: os.truncate(image, 90), "ends in its header"),
        (lambda image: os.truncate(image, 40), "is no qcow2"),
        (patched(40, ">Q", 1 << 60), "has a table beyond its end"),
        (patched(48, ">Q", 1 << 60), "has a table beyond its end"),
    ],
)
def test_a_hostile_qcow2_is_refused_before_it_costs_anything(
    change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    image = tmp_path / "x.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", image, "200M"])
    change(image)
    begun = time.monotonic()
    with pytest.raises(BuildError, match=f"URL: .*{said}"):
        read_qcow2(image, tmp_path / "raw", most=128 << 30, where="URL")
    assert time.monotonic() - begun < 10
    assert not (tmp_path / "raw").exists() or (tmp_path / "raw").stat().st_blocks == 0


# ---- holes -----------------------------------------------------------------------------------------------------


def test_a_hole_that_is_larger_than_its_volume_is_not_written_out(tmp_path: Path) -> None:
    system = tmp_path / "system"
    system.mkdir()
    with (system / "hole").open("wb") as file:
        file.truncate(6 << 30)
    image = tmp_path / "tiny.img"
    make_image(image, system)
    layers = tmp_path / "layers"
    layers.mkdir()
    with pytest.raises(DownloadError, match=f"root volume cannot be read: holds more than {2 * ROOT_SIZE} bytes"):
        import_layers(image, tiny_base(), layers, Silent(), "URL")
    assert sum(file.stat().st_blocks * 512 for file in layers.iterdir()) < 2 * ROOT_SIZE


def test_a_writer_that_hangs_is_ended(tmp_path: Path) -> None:
    ended: list[float] = []
    pouring = Pouring(tmp_path / "out", limit=MIB, silence=0.3, total=60, stop=lambda: ended.append(time.monotonic()))
    with pouring, Path(pouring.path).open("wb") as file:
        file.write(b"begun")
        file.flush()
        while not ended:
            time.sleep(0.05)
    assert pouring.fault == "gives nothing more after 5 bytes"


def test_zeros_become_holes(tmp_path: Path) -> None:
    pouring = Pouring(tmp_path / "out", limit=64 * MIB, silence=60, total=60, stop=lambda: None)
    with pouring, Path(pouring.path).open("wb") as file:
        shutil.copyfileobj(_Zeros(32 * MIB), file)
        file.write(b"end")
    assert (pouring.fault, (tmp_path / "out").stat().st_size) == ("", 32 * MIB + 3)
    assert (tmp_path / "out").stat().st_blocks * 512 < MIB


class _Zeros:
    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


# ---- an image that says that it is another format ----------------------------------------------------------------


def test_an_image_is_raw_whatever_its_first_bytes_say(tmp_path: Path) -> None:
    """A qcow2's header in a raw image would make QEMU open the file that it names, if QEMU were to guess."""
    image, secret = tmp_path / "evil.img", tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", image, "16M"])
    disks = scratch_disk(image, tmp_path / "scratch.qcow2")
    ours, theirs = socket.socketpair()
    with ours, Handed() as handed:
        with theirs:
            words = ["-M", "virt", "-nodefaults", "-display", "none", "-S", *disks.words(handed), *handed.words]
            words += [
                "-sandbox",
                SANDBOX,
                "-chardev",
                f"socket,id=qmp,fd={theirs.fileno()}",
                "-mon",
                "qmp,mode=control",
            ]
            numbers = [*handed.numbers, theirs.fileno()]
            process = start([*confined(), "qemu-system-aarch64", *words], pass_fds=numbers)
        try:
            qmp = Qmp(ours)
            nodes = qmp.execute("query-named-block-nodes")
            qmp.close()
        finally:
            kill(process)
    found = {node["node-name"]: (node["drv"], node["ro"]) for node in nodes if not node["node-name"].startswith("#")}
    assert found == {"image": ("raw", True), "ssd": ("qcow2", False)}
    assert not [node for node in nodes if "secret" in node["file"]]


def test_a_log_replaces_a_link_that_came_with_a_set(tmp_path: Path) -> None:
    victim, log = tmp_path / "victim", tmp_path / "serial-1.log"
    victim.write_text("the host's own")
    log.symlink_to(victim)
    line = SerialLine(log)
    line.theirs.sendall(b"hello\n")
    line.theirs.close()
    line.close()
    assert victim.read_text() == "the host's own"
    assert not log.is_symlink()
    assert log.read_bytes() == b"hello\n"
