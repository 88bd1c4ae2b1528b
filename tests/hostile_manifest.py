"""A manifest as a publisher would write it, for tests to make hostile."""

from __future__ import annotations

import copy
from typing import Any

SIZE = 24 * 1024**2
CHUNK = 4 * 1024**2
TOKEN = {"reference": "file:profiles/access/k3s-agent-token", "kind": "k3s-token"}
FILE = {
    "place": "file",
    "feature": "k3s",
    "origin": "profiles/cluster.yaml:27",
    "path": "/etc/rancher/node/password",
    "mode": 0o600,
    "uid": 0,
    "gid": 0,
    "secret": TOKEN,
}
SEED = {
    "place": "seed",
    "feature": "guest",
    "origin": "profiles/cluster.yaml:27",
    "path": "/usr/share/pimu/guest/seed.img",
    "name": "k3s-token",
    "secret": TOKEN,
}
RECORD = {
    "place": "record",
    "feature": "user",
    "origin": "profiles/cluster.yaml:12",
    "path": "/etc/shadow",
    "fields": ["pimu", {"reference": "prompt", "kind": "password-hash"}, "1", "0", "99999", "7", "", "", ""],
}
MANIFEST = {
    "version": 1,
    "node": "node-003",
    "image": {
        "size": SIZE,
        "chunk_size": CHUNK,
        "digest": "0" * 64,
        "chunks": ["1" * 64] * (SIZE // CHUNK),
        "allocated": [[0, 1048576], [2097152, 8388608]],
    },
    "layout": {
        "boot_start": 1048576,
        "boot_size": 4194304,
        "root_start": 5242880,
        "root_size": 18874368,
        "disk_id": "0xdeadbeef",
    },
    "files": [{"volume": "root", "path": "/etc/gone", "type": "absent", "feature": "ssh", "origin": "a.yaml:1"}],
    "pending": [FILE, SEED, RECORD],
    "plan": {"settings": {"cluster": "pimu"}},
    "lock": {},
}


def changed(**changes: Any) -> dict[str, Any]:
    """The manifest with other values: `image__size=5` is `image.size`, and
    `pending__0__path` is of the first element of `pending`."""
    whole = copy.deepcopy(MANIFEST)
    for key, value in changes.items():
        place: Any = whole
        words = key.split("__")
        for word in words[:-1]:
            place = place[int(word) if word.isdecimal() else word]
        last = words[-1]
        place[int(last) if last.isdecimal() else last] = value
    return whole
