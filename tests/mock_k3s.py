"""The servers that an agent of k3s meets: one by TLS, which gives a node its certificates for token, name and password
(k3s: pkg/server/handlers, pkg/nodepassword) and keeps the list of nodes; and the server of releases, whose k3s is a
script that asks those questions and is idle then."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import trustme

from builder.model.k3s_ca import to_text
from tests.loopback import Request, Site, running, serving

VERSION = "v1.36.5+k3s1"
PROGRAM = (Path(__file__).parent / "mock_k3s.sh").read_bytes()
SUMS = f"/{VERSION}/sha256sum-amd64.txt"
BINARY = f"/{VERSION}/k3s"
ARM_SUMS, ARM_BINARY = f"/{VERSION}/sha256sum-arm64.txt", f"{BINARY}-arm64"


class MockK3s(ThreadingHTTPServer):
    """`nodes` are those that joined, `joins` and `certified` the names as often as that was asked for, `refused` the
    answers to the others, with their statuses. `bootstrap` are the tokens that `k3s token create` has made."""

    daemon_threads = True

    def __init__(self, token: str, *names: str, parts: Mapping[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        if parts is None:
            self.authority = trustme.CA()
            self.cacerts = self.authority.cert_pem.bytes()
        else:
            self.cacerts = parts["server-ca.crt"].encode()
            self.authority = trustme.CA.from_pem(self.cacerts, parts["server-ca.key"].encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1", *names).configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.token, self.parts = token, parts
        self.bootstrap: set[str] = set()
        self.nodes: dict[str, dict[str, Any]] = {}
        self.passwords: dict[str, str] = {}
        self.joins: list[str] = []
        self.certified: list[str] = []
        self.refused: list[tuple[int, str]] = []
        self.heard = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""

    def refusal(self, headers: Any) -> tuple[int, str] | None:
        """Status and text for a node that gets no certificate: 401 for its token (pkg/server/auth, doAuth), 403 for its
        password (pkg/nodepassword, validate.go)."""
        self.heard = True
        expected = {f"Basic {base64.b64encode(f'node:{self.token}'.encode()).decode()}"}
        if headers["Authorization"] not in expected | {f"Bearer {token}" for token in self.bootstrap}:
            return 401, "not authorized"
        name, password = headers["k3s-Node-Name"], headers["k3s-Node-Password"]
        if not name or not password:
            return 400, "node name or node password not set"
        if self.passwords.setdefault(name, password) != password:
            return 403, f"Node password rejected, duplicate hostname or contents of /etc/rancher/node/password: {name}"
        return None


class _Request(Request):
    def do_GET(self) -> None:  # noqa: N802 (as BaseHTTPRequestHandler calls it)
        mock = cast(MockK3s, self.server)
        if self.path == "/ping":
            self.reply(b"pong")
        elif self.path == "/cacerts":
            self.reply(mock.cacerts)
        elif refusal := mock.refusal(self.headers):
            mock.refused.append(refusal)
            status, text = refusal
            self.reply(text.encode(), status=status)
        elif self.path == "/v1-k3s/serving-kubelet.crt":
            mock.certified.append(self.headers["k3s-Node-Name"])
            self.reply(b"a certificate\n")
        else:
            node = mock.nodes.get(self.path.removeprefix("/api/v1/nodes/"))
            self.reply(json.dumps(node).encode(), status=404 if node is None else 200)

    def do_POST(self) -> None:  # noqa: N802 (likewise)
        mock = cast(MockK3s, self.server)
        node = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mock.nodes[node["name"]] = node
        mock.joins.append(node["name"])
        self.reply(b"{}", status=201)


def k3s_server(token: str, *names: str, parts: Mapping[str, str] | None = None) -> AbstractContextManager[MockK3s]:
    return running(MockK3s(token, *names, parts=parts))


def let_join(project: Path, server: MockK3s, releases: str, host: str) -> None:
    """Make the project's nodes agents of that server, which they find at `host`, with k3s from the URL `releases`. A
    server without authorities of a project has made its own, and no token can name them beforehand."""
    access, cluster = project / "profiles/access", project / "profiles/cluster.yaml"
    (access / "k3s-agent-token").write_text(server.token)
    (access / "k3s-agent-token").chmod(0o600)
    at = f"https://node-001.lan:{server.server_port}\n  address: {host}"
    text = cluster.read_text().replace("https://node-001.lan:6443", at)
    if server.parts is None:
        text = text.replace("  ca: file:profiles/access/k3s-ca\n", "")
    else:
        (access / "k3s-ca").write_text(to_text("pimu", server.parts))
        (access / "k3s-ca").chmod(0o600)
    cluster.write_text(text.replace("https://github.com/k3s-io/k3s/releases/download", releases))


def set_k3s(project: Path, *lines: str) -> None:
    """Add lines to the cluster's settings of k3s, which are the last in their file."""
    cluster = project / "profiles/cluster.yaml"
    cluster.write_text(cluster.read_text() + "".join(f"  {line}\n" for line in lines))


@contextmanager
def releases() -> Iterator[Site]:
    with serving() as site:
        digest = hashlib.sha256(PROGRAM).hexdigest()
        sums = f"{digest}  k3s\n{'0' * 64}  k3s-airgap-images-amd64.tar.zst\n"
        site.pages |= {BINARY: PROGRAM, SUMS: sums.encode()}
        site.pages |= {ARM_BINARY: PROGRAM, ARM_SUMS: f"{digest}  k3s-arm64\n".encode()}
        yield site
