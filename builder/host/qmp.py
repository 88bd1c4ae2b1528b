"""QEMU's machine protocol (docs/interop/qmp-spec): one JSON object a line, over a socket pair that QEMU inherits."""

from __future__ import annotations

import json
import socket
from typing import Any

from builder import limits
from builder.errors import BuildError


class Qmp:
    """Raises BuildError when QEMU refuses a command or has ended."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(limits.QMP_SECONDS)
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._read()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, /, **arguments: object) -> Any:
        request = {"execute": command, "arguments": arguments}
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise BuildError(f"QEMU has ended before {command}") from error
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise BuildError(f"QEMU refuses {command}: {answer['error']['desc']}")

    def close(self) -> None:
        self._lines.close()
        self._connection.close()

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise BuildError("QEMU does not answer") from error
        if not line:
            raise BuildError("QEMU has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
