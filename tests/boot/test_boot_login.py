"""`boot IMAGE` prints a command that logs in; it is pasted here as it is, while the console is open."""

from __future__ import annotations

import re
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.build import Built
from builder.host.run import kill, run, start
from tests.conftest import SHIPPED
from tests.hostile.test_machines import own_address

pytestmark = pytest.mark.boot

BOOTED = 1200.0  # seconds
KNOCK = """timeout 20 bash -c 'exec 3<>/dev/tcp/{0}' 2>/dev/null && echo open {0} || echo closed {0}\n"""


@contextmanager
def console(image: Path, log: Path, *words: str) -> Iterator[str]:
    """The line that logs in, as it was printed."""
    command = [sys.executable, "-m", "builder", "boot", str(image), "--project", str(SHIPPED), *words]
    quiet, theirs = socket.socketpair()  # nobody types
    with quiet, theirs, log.open("w+b") as out:
        process = start(command, stdin=theirs.fileno(), stdout=out, stderr=out, cwd=SHIPPED)
        try:
            deadline = time.monotonic() + 120
            while not (found := re.search(r"another terminal: (ssh .*)", log.read_text(errors="replace"))):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline
                time.sleep(0.5)
            yield found[1]
        finally:
            kill(process)


def test_the_printed_line_logs_in_and_the_pi_reaches_nothing_of_the_host(built: Built, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, socket.create_server(("127.0.0.1", 0)) as named:
        port, open_port = service.getsockname()[1], named.getsockname()[1]
        with console(built.image, tmp_path / "console", "--reach", f"127.0.0.1:{open_port}") as line:
            deadline = time.monotonic() + BOOTED
            while (said := run([*shlex.split(line), "hostname"], check=False, timeout=90)).returncode != 0:
                assert time.monotonic() < deadline, (said, (tmp_path / "console").read_text(errors="replace")[-2000:])
                time.sleep(5)
            assert said.text == "node-003\n"
            named.settimeout(60)
            places = [f"10.0.2.2/{port}", f"{own_address()}/{port}", "192.0.2.1/80", "10.0.2.2/22"]
            script = "".join(KNOCK.format(place) for place in [*places, f"10.0.2.2/{open_port}"]).encode()
            tried = run([*shlex.split(line), "bash", "-s"], input=script, timeout=300).text
            assert tried.splitlines() == [*(f"closed {place}" for place in places), f"open 10.0.2.2/{open_port}"]
            named.accept()[0].close()
        service.settimeout(0.1)
        with pytest.raises(TimeoutError):
            service.accept()
