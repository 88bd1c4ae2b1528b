"""The table of limits for everything from outside. A limit is checked before memory, disk or time is used.

The numbers are bytes unless another unit is named, and seconds if the name ends in SECONDS. A limit is several times as
large as the largest honest case. This module imports nothing, so every other module can import it.
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# A project

PROFILE = 1 * MIB
"""One file of profiles/, a file of public keys, or overlays/manifest.yaml."""

YAML = 64 * KIB
"""Characters of one YAML document: the reader needs half a second for them. The longest shipped profile has 3 KiB."""

YAML_LEVELS = 16
"""Levels of nested mappings and lists in a YAML document. A shipped profile has 4."""

OVERLAY = 64 * MIB
"""One file of overlays/ or cloud-init/: it is held in memory, and mostly in every image."""

PROJECT_FILES = 20_000
"""Number of files and folders in a project's profiles/, overlays/ and cloud-init/."""

PROJECT = 512 * MIB
"""The sum of all files that are read from a project."""

LOCK = 16 * MIB
"""pimu.lock."""

TEMPLATE = 1 * MIB
"""The text of one template."""

RENDERED = 8 * MIB
"""Characters of one template's output."""

RENDERER_ANSWER = 16 * RENDERED
"""The message with a rendered text: JSON writes some characters as 12 bytes."""

TEMPLATE_MEMORY = 512 * MIB
"""Address space for one template, in addition to this program's own."""

TEMPLATE_SECONDS = 1
"""Seconds of processor time for one template; an honest one takes some milliseconds."""

TEMPLATE_GRACE_SECONDS = 1
"""Seconds of processor time between the error, which names a line, and a kill. A process deep in C code needs the
kill."""

SECRET = 64 * KIB
"""One file that a reference (`file:`, --token-file, --set) names; the largest is a k3s certificate authority."""

TOKEN = 4 * KIB
"""Characters of a k3s token or a node's password. Each is sent in an HTTP header, which servers limit to some KiB."""

SEED_DOCUMENT = 64 * KIB
"""A guest's user-data, network-config or meta-data after rendering. A slow emulated guest reads the text made from
them."""

SEED = 768 * KIB
"""All files of a guest's seed disk, which has 1 MiB."""

# Names and paths

PATH = 4096
"""Characters of a path: PATH_MAX of Linux (limits.h)."""

FILE_NAME = 255
"""One name in a path: bytes for Linux (NAME_MAX of limits.h), units of UTF-16 for FAT (Microsoft's fatgen103)."""

SYMLINKS = 40
"""Number of symlinks in the resolution of one path, as in Linux (path_resolution(7))."""

WORDS = 1024
"""Characters of one text for people in a manifest, such as a node's name or the reason of an edit."""

QUOTED = 200
"""Characters of outside text that an error or a line of progress repeats."""

# Downloads

SMALL_DOWNLOAD = 1 * MIB
"""One file without a pin: a signature, a key, a list of checksums."""

SMALL_DOWNLOAD_SECONDS = 120
"""For the whole download of such a file."""

DOWNLOAD = 16 * GIB
"""A file with a pinned hash but an unknown size. A whole Raspberry Pi OS has 3 GiB."""

DOWNLOAD_ATTEMPTS = 5
"""Number of requests for one URL, when the fault may be temporary."""

SERVER_CONNECT_SECONDS = 20
"""Until a server of downloads accepts a connection."""

SERVER_SILENCE_SECONDS = 60
"""Between two reads of an answer."""

SERVER_STALL_SECONDS = 60
"""In each such period a server must send SERVER_STALL_BYTES, or the request is repeated: a server with one byte a
minute would block a build for ever."""

SERVER_STALL_BYTES = 64 * KIB
"""1 KiB a second: a connection that is slower cannot fetch an image anyway."""

SERVER_WAIT_SECONDS = 60
"""The longest pause that a server may ask for (RFC 9110, 10.2.3, `Retry-After`)."""

# Published images and sets

MANIFEST = 16 * MIB
"""One manifest, or a plan that `diff` reads. A worker's has 300 KiB."""

JSON_LEVELS = 32
"""Levels of nested objects and lists in a manifest. A worker's has 9."""

IMAGE = 64 * GIB
"""The size of a raw image in its manifest or its pin."""

UNPACKED = 4 * GIB
"""All files together that `publish` unpacks from one image or one guest's disk to look for private keys. The initrd of
Raspberry Pi OS has 250 MiB."""

PENDING = 256
"""Number of pending secrets in one manifest."""

SLOT = 512
"""Characters of the name of such a secret: it is shown in a question."""

SUMS = 1 * MIB
"""SHA256SUMS of a set."""

SIGNATURE = 64 * KIB
"""A detached signature, or the public key of a signer."""

XZ_INDEX = 1 * MIB
"""The index of one .xz stream: 64 GiB in blocks of 1 MiB need half of it."""

XZ_INTEGER = 9
"""Bytes of a multibyte integer in an .xz (The .xz File Format, section 1.2)."""

FRAME_SHARE = 4 * KIB
"""Bytes of the image per frame, stream or block of a compressed image, on average, at the least. xz and zstd make
blocks of 128 KiB and more."""

FRAME_EXCESS = 64 * KIB
"""Bytes by which a frame may be larger than its chunk: some content cannot be compressed."""

WINDOW = 128 * MIB
"""The window of a .zst, or the dictionary of an .xz, that others have made. `xz -9` uses 64 MiB."""

XZ_MEMORY = WINDOW + 64 * MIB
"""Memory for unpacking one .xz: its dictionary, and the reader's own memory."""

ZIP_DIRECTORY = 1 * MIB
"""The central directory of a .zip with an image in it."""

# Volumes of an image

TAR_OF_VOLUME = 2
"""Size of the tar of a volume's files, as a multiple of the volume's size. A sparse file of terabytes would fill the
disk."""

VOLUME_SILENCE_SECONDS = 600
"""The longest pause while the appliance sends a volume's files. Emulated on a busy machine it sends 10 MB a second."""

VOLUME_SECONDS = 7200
"""For reading a volume: at that speed, 72 GB."""

DPKG_STATUS = 64 * MIB
"""var/lib/dpkg/status of an image: it is held in memory. 900 packages have 1 MiB."""

APT_FILE = 16 * MIB
"""A list of archives, or a keyring, of an image's /etc/apt; the largest keyring of Debian has 72 KiB."""

FAT_FILE = 512 * MIB
"""A file of a boot volume: it is held in memory. The largest is an initrd (INITRD)."""

FAT_FILE_SECONDS = 120
"""For mtools to read it from a busy disk. A FAT's chain of clusters can be a circle."""

BOOT_TEXT = 64 * KIB
"""config.txt or cmdline.txt of an image that `boot` starts; Raspberry Pi OS has 2 KiB."""

KERNEL_WORDS = 2048
"""Characters of a command line: COMMAND_LINE_SIZE of an arm64 kernel (Linux, arch/arm64/include/uapi/asm/setup.h)."""

KERNEL = 256 * MIB
"""A kernel that `boot` or an installer's machine loads; the largest Raspberry Pi kernel has 35 MiB."""

INITRD = 512 * MIB
"""An initrd that `boot` or an installer's machine loads. That of Raspberry Pi OS with all modules has 80 MiB."""

# Disks to flash

RECORD = 64 * KIB
"""The record of a node on the boot volume of a disk that `flash` examines."""

FLASHED = 4 * MIB
"""output/flashed.jsonl: 20,000 flashes."""

DEVICE_LEVELS = 32
"""Levels of block devices on top of each other (RAID, LVM, crypt), as lsblk lists them."""

DISK_PROBE_SECONDS = 60
"""For one program that examines a disk (lsblk, blkid, mtools and others). A failing disk never answers."""

# Programs and packages

LINE = 64 * KIB
"""One line that a tool or a package's script writes while it runs; the rest counts as the next line."""

ERRORS = 64 * KIB
"""The beginning of a program's standard error that is kept for an error message, which shows 15 lines."""

ERROR_LINES = 200
"""Number of last lines that are kept when a program's lines are read while it runs."""

BINARY_KEY = 64 * KIB
"""A file that is searched for a key in DER or in an old binary form. Such a key has no distinct mark, so a large file
would match by chance."""

# Guests and machines

CLOUD_IMAGE = 16 * GIB
"""The virtual size of a published guest's disk (qcow2); Alpine's have 1 GiB at most."""

QCOW2_COUNTERS = 8 * MIB
"""The refcount table of a qcow2, as in QEMU itself (QCOW_MAX_REFTABLE_SIZE)."""

QCOW2_MEMORY = 4 * GIB
"""Address space of qemu-img while it converts a qcow2."""

QCOW2_SECONDS = 1800
"""For that conversion, also of processor time: CLOUD_IMAGE bytes at 10 MB a second."""

ISO_MEMORY = 1 * GIB
"""Address space of xorriso while it reads an ISO."""

ISO_REPORT = 64 * KIB
"""The place of one file in an ISO, as xorriso reports it: one line."""

ISO_SECONDS = 120
"""For one question to xorriso on a busy disk."""

MIRROR = 4 * GIB
"""All data that an installer's machine fetches from its mirror. Alpine with the packages for k3s needs 150 MiB."""

REFUSALS_SHOWN = 20
"""Number of refused requests of an installer's machine that are printed. The machine may repeat them for ever."""

INSTALLER_SECONDS = 3600
"""For an installation. Emulated on a busy machine it takes ten times as long as with KVM, and it downloads packages."""

INSTALLER_SILENCE_SECONDS = 900
"""The longest pause on the installer's serial line."""

SERIAL = 16 * MIB
"""The whole output of a helper machine's serial line. `boot --check` gets 1 MiB from its emulated Pi."""

SERIAL_LINE = 64 * KIB
"""One line of a serial line's output. A machine may never end a line."""

CONNECTIONS = 64
"""Number of open connections on one listener that leads out of a machine's network. k3s keeps ten open."""

CONNECT_SECONDS = 60
"""For an answer from another host, or from the process that holds a machine's network."""

INNER_CONNECT_SECONDS = 30
"""For an answer from a port inside a machine's network. It is less than CONNECT_SECONDS, so that the reason is known
before that time is over."""

NETWORK_MESSAGE = 1 * KIB
"""One message of the process that holds a machine's network."""

QMP_SECONDS = 60
"""For one command to QEMU. QEMU answers at once, but a busy host may not."""

BOOT_SECONDS = 900
"""For a booted image to let its user log in, or to power off: about ten times the need of two idle cores."""

BOOT_PROBE_SECONDS = 900
"""For one script on the booted image."""

BOOT_SSH_CONNECT_SECONDS = 30
"""For the booted image to accept an ssh connection. A handshake takes several seconds under emulation."""

BOOT_SSH_SECONDS = 60
"""For a trivial command on the booted image, with its connection."""

BOOT_GUEST_SECONDS = 3600
"""From power-on until the guest of the booted image is up. The guest is emulated inside the emulation."""

BOOT_SETTLING_SECONDS = 180
"""From the login prompt until systemd prints that the last target is reached. That line may be lost."""
