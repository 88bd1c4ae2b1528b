"""Run scripts as root on a booted Pi, by ssh with the owner's key and by sudo, as the owner would."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder import limits
from builder.errors import BuildError
from builder.host.run import run

_REFUSED = 255  # ssh itself failed; any other status is the script's


@dataclass(frozen=True, slots=True)
class Shell:
    """A login on the Pi. The host key is not checked: every first boot makes a new one, and the port is on this
    host."""

    user: str
    port: int
    identity: Path

    def run(self, script: bytes, timeout: float) -> str:
        """Standard output of a POSIX sh script, run as root. Raises BuildError when it fails or does not end."""
        return run(self._argv("sudo", "-n", "sh", "-s"), input=script, timeout=timeout).text

    def send(self, script: bytes) -> None:
        """Run a script that may cut the connection before ssh learns its status. Raises no error when it fails."""
        run(self._argv("sudo", "-n", "sh", "-s"), input=script, timeout=limits.BOOT_SSH_SECONDS, check=False)

    def answers(self) -> bool:
        try:
            return run(self._argv("true"), timeout=limits.BOOT_SSH_SECONDS, check=False).returncode != _REFUSED
        except BuildError:
            return False

    def _argv(self, *command: str) -> list[str]:
        options = {
            "IdentityFile": str(self.identity),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PreferredAuthentications": "publickey",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": str(limits.BOOT_SSH_CONNECT_SECONDS),
            "ServerAliveInterval": "30",
            "ServerAliveCountMax": "10",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", *words, "-p", str(self.port), f"{self.user}@127.0.0.1", *command]
