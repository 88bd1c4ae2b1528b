"""A block device, opened exclusively.

The numbers of ioctl(2) are from linux/fs.h. They are the same on all architectures with a 64-bit `size_t`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import FlashRefusedError
from builder.flash.survey import number
from builder.limits import MIB

_BLKRRPART, _BLKFLSBUF, _BLKZEROOUT = 0x125F, 0x1261, 0x127F
_BLKGETSIZE64, _BLKGETDISKSEQ = 0x80081272, 0x80081280
_AT_ONCE = 4 * MIB
_MOST_UNFLUSHED = 256 * MIB
_REREAD_TRIES, _REREAD_PAUSE = 10, 0.2

_REFUSED = {
    errno.EBUSY: ("is in use: the kernel has given it to somebody else (mounted elsewhere, LVM, RAID, swap?)", ""),
    errno.EACCES: ("may not be written by you", "run it as root: sudo"),
    errno.EPERM: ("may not be written by you", "run it as root: sudo"),
    errno.EROFS: ("is read-only", ""),
    errno.ENOMEDIUM: ("has no medium in it", ""),
}


class Device:
    """An open device; it implements `writer.Target`. `direct`: reads and writes bypass the page cache."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._zeros = mmap.mmap(-1, _AT_ONCE)  # page-aligned for direct I/O
        self._unflushed = 0
        self.direct = False

    @property
    def path(self) -> Path:
        """A path of the open device itself, for the programs that we start. A name in /dev can move to another disk;
        this path cannot (proc_pid_fd(5))."""
        return Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")

    @property
    def number(self) -> str:
        return number(os.fstat(self._descriptor).st_rdev)

    @property
    def size(self) -> int:
        return int.from_bytes(self._ask(_BLKGETSIZE64), "little")

    @property
    def diskseq(self) -> int | None:
        """The kernel's sequence number of the disk; None before Linux 5.15."""
        try:
            return int.from_bytes(self._ask(_BLKGETDISKSEQ), "little")
        except OSError as unknown:
            if unknown.errno in (errno.ENOTTY, errno.EINVAL):
                return None
            raise

    def lock(self, where: str) -> None:
        """Lock the device, so that udev does not probe it while it changes (systemd.io/BLOCK_DEVICE_LOCKING). Raises
        FlashRefusedError."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FlashRefusedError("is in use: another program has locked it", where=where) from None

    def pass_the_cache(self) -> None:
        """Switch to direct I/O, if the device supports it. Otherwise each read drops the cache first."""
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
            self.direct = True

    def write(self, offset: int, data: memoryview) -> int:
        """Write, and return the number of written bytes. Without direct I/O it also flushes regularly, so that an
        interrupt never waits for long."""
        written = os.pwritev(self._descriptor, [data], offset)
        if not self.direct:
            self._unflushed += written
            if self._unflushed >= _MOST_UNFLUSHED:
                self.flush()
        return written

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from the medium; fewer at the device's end. Raises OSError."""
        buffer = memoryview(mmap.mmap(-1, length))
        return bytes(buffer[: self.read_into(offset, buffer)])

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer from the medium, and return the number of bytes. Aligned as in `write`. Raises OSError."""
        if not self.direct:
            os.posix_fadvise(self._descriptor, offset, len(buffer), os.POSIX_FADV_DONTNEED)
        return os.preadv(self._descriptor, [buffer], offset)

    def zero(self, offset: int, length: int) -> None:
        """Write zeros. The device does it itself, if it can. Unlike after a discard, the range reads back as zeros."""
        try:
            fcntl.ioctl(self._descriptor, _BLKZEROOUT, struct.pack("QQ", offset, length))
        except OSError:
            self._write_zeros(offset, length)

    def _write_zeros(self, offset: int, length: int) -> None:
        end = offset + length
        while offset < end:
            offset += os.pwritev(self._descriptor, [memoryview(self._zeros)[: end - offset]], offset)

    def flush(self) -> None:
        os.fsync(self._descriptor)
        self._unflushed = 0

    def forget_cache(self) -> None:
        with contextlib.suppress(OSError):  # for root; dirty pages have been flushed
            fcntl.ioctl(self._descriptor, _BLKFLSBUF)

    def reread_table(self) -> bool:
        """Make the kernel read the partition table, and return whether it did. It refuses while udev has an old
        partition open, so this tries for some time."""
        for _ in range(_REREAD_TRIES):
            try:
                fcntl.ioctl(self._descriptor, _BLKRRPART)
            except OSError as refused:
                if refused.errno != errno.EBUSY:
                    return False
                time.sleep(_REREAD_PAUSE)
            else:
                return True
        return False

    def _ask(self, request: int) -> bytes:
        return fcntl.ioctl(self._descriptor, request, bytes(8))


@contextmanager
def opened(path: Path, *, writable: bool = True) -> Iterator[Device]:
    """Open a device with O_EXCL. The kernel refuses a device that is mounted or held, in any namespace, and there is no
    option to override it.

    Raises FlashRefusedError.
    """
    try:
        access = os.O_RDWR if writable else os.O_RDONLY
        descriptor = os.open(path, access | os.O_EXCL | os.O_CLOEXEC)
    except OSError as refused:
        text, hint = _REFUSED.get(refused.errno or 0, (f"cannot be opened: {refused.strerror}", ""))
        raise FlashRefusedError(text, where=str(path), hint=hint) from refused
    try:
        yield Device(descriptor)
    finally:
        os.close(descriptor)
