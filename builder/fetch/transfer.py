"""Fetch one file from one server. The bytes that have come stay, and the next attempt asks for the rest.

RFC 9110: a server may ignore Range (200), send another part than was asked for, or have another file by now; nothing
that it says is believed further than its bytes: the pin's hash decides.
"""

from __future__ import annotations

import email.utils
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import urllib3

from builder import limits
from builder.errors import DownloadError
from builder.fetch.pins import Pin

_CHUNK = 1 << 20
TIMEOUT = (limits.SERVER_CONNECT_SECONDS, limits.SERVER_SILENCE_SECONDS)
_RETRIED = {408, 425, 429, 500, 502, 503, 504}


class PassingError(Exception):
    """An attempt that failed for a reason that may pass; `wait` seconds, when the server says how long."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class PermanentError(Exception):
    """This server will not do better."""


@dataclass(frozen=True, slots=True)
class PartFile:
    """The part of a file that has come, with its URL beside it: a download must not go on with a part of another
    file."""

    path: Path

    @property
    def _about(self) -> Path:
        return self.path.with_suffix(".resume")

    def validator(self, url: str) -> str | None:
        """The ETag or date under which the part came from this URL; None when there is none to go on with."""
        try:
            about = json.loads(self._about.read_text())
            return str(about["validator"]) if about["url"] == url and self.path.exists() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, url: str, validator: str) -> None:
        self.discard()
        if validator:
            self._about.write_text(json.dumps({"url": url, "validator": validator}))

    def discard(self) -> None:
        self.forget()
        self.path.unlink(missing_ok=True)

    def forget(self) -> None:
        self._about.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Transfer:
    """`reached` is told how many bytes of the file are there, `stopped` says that the build is to end."""

    session: requests.Session
    pin: Pin
    part: PartFile
    reached: Callable[[int], None]
    stopped: Callable[[], bool]

    def receive(self, url: str) -> str:
        """One attempt to bring the part to the whole file; its sha256.

        Raises PassingError, PermanentError; DownloadError when it is stopped; OSError when the disk is full.
        """
        pin, part = self.pin, self.part
        digest, offset, headers = hashlib.sha256(), 0, {}
        validator = part.validator(url)
        if validator is not None:
            # Hashed before the connection is opened: the server would wait, and call it a stall.
            offset = _hash_part(part.path, digest)
            headers = {"Range": f"bytes={offset}-", "If-Range": validator}
        self.reached(offset)
        try:
            with self.session.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
                if not self._goes_on(response, offset):
                    digest, offset = hashlib.sha256(), 0
                    part.begin(url, _validator(response))
                length = self._write(response, offset, digest)
        except requests.TooManyRedirects as loop:
            raise PermanentError("redirects in a circle") from loop
        except (requests.RequestException, urllib3.exceptions.HTTPError) as broken:
            raise PassingError(f"{type(broken).__name__}: {broken}") from broken
        if pin.size is not None and length < pin.size:
            raise PassingError(f"ended after {length} of {pin.size} bytes")
        sha256: str = digest.hexdigest()
        if pin.sha256 not in (sha256, ""):
            part.discard()
            if offset:
                raise PassingError("the rest belonged to another file")
            raise PermanentError(f"has sha256 {sha256}, its pin says {pin.sha256}")
        return sha256

    def _goes_on(self, response: requests.Response, offset: int) -> bool:
        """Whether the answer begins where the part ends; False when it is the whole file."""
        status = response.status_code
        if status == 200:
            return False
        if offset and status == 206:
            content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            if (
                content_range
                and int(content_range[1]) == offset
                and content_range[2] in ("*", str(self.pin.size or "*"))
            ):
                return True
            self.part.discard()
            raise PassingError("the server sends another part than was asked for")
        if status in (206, 416):
            self.part.discard()
            raise PassingError(f"the server answers {status}")
        if status in _RETRIED:
            raise PassingError(f"the server answers {status}", _retry_after(response))
        raise PermanentError(f"the server answers {status}")

    def _write(self, response: requests.Response, length: int, digest: Any) -> int:
        """Append the bytes that come, and return the length of the file."""
        since, then = time.monotonic(), length
        with self.part.path.open("ab" if length else "wb") as file:
            while chunk := response.raw.read1(_CHUNK):
                if self.stopped():
                    raise DownloadError("stopped", where=response.url)
                length += len(chunk)
                if length > self.pin.most:
                    raise PermanentError(f"is larger than the {self.pin.most} bytes of its pin")
                digest.update(chunk)
                file.write(chunk)
                self.reached(length)
                if time.monotonic() - since > limits.SERVER_STALL_SECONDS:
                    if length - then < limits.SERVER_STALL_BYTES:
                        raise PassingError(
                            f"the server sent {length - then} bytes in {limits.SERVER_STALL_SECONDS:.0f} s"
                        )
                    since, then = time.monotonic(), length
            file.flush()
            os.fsync(file.fileno())
        return length


def _hash_part(path: Path, digest: Any) -> int:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return file.tell()


def _validator(response: requests.Response) -> str:
    """The validator for If-Range (RFC 9110, 13.1.5), or "": a weak ETag promises no equal bytes."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _retry_after(response: requests.Response) -> float:
    """Seconds, of a number or a date; at most a minute, whatever the server wishes."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return min(float(text), limits.SERVER_WAIT_SECONDS)
    try:
        seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), limits.SERVER_WAIT_SECONDS)
