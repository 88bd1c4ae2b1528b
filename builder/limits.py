"""The table of limits. Each outside thing is measured against its row before memory, disk or time is taken for it.

The numbers are bytes where no other unit is named, and seconds where the name says so. A limit is several times as
large as the largest honest thing. This module imports nothing, so every other module can import it.
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
"""Number of files and folders that a project may have in profiles/, overlays/ and cloud-init/."""

PROJECT = 512 * MIB
"""The sum of all files that are read of a project."""

LOCK = 16 * MIB
"""pimu.lock."""

TEMPLATE = 1 * MIB
"""The text of one template."""

RENDERED = 8 * MIB
"""Characters that one template may make."""

RENDERER_ANSWER = 16 * RENDERED
"""The message with a rendered text: JSON writes some characters as 12 bytes."""

TEMPLATE_MEMORY = 512 * MIB
"""Address space that a template may take beyond that of this program."""

TEMPLATE_SECONDS = 1
"""Seconds of processor time for one template; an honest one takes some milliseconds."""

TEMPLATE_GRACE_SECONDS = 1
"""Seconds of processor time between the error, which has a line, and the end of a process that is deep in C."""

SECRET = 64 * KIB
"""One file that a reference (`file:`, --token-file, --set) names; the largest is a k3s certificate authority."""

TOKEN = 4 * KIB
"""Characters of a k3s token or a node's password: each travels in a header of HTTP, of which servers take some KiB."""

SEED_DOCUMENT = 64 * KIB
"""user-data, network-config or meta-data of a guest, as rendered: an emulated guest reads the text made of them."""

SEED = 768 * KIB
"""All files of a guest's seed disk, which has 1 MiB."""

# Names and paths

PATH = 4096
"""Characters of a path: PATH_MAX of Linux (limits.h)."""

FILE_NAME = 255
"""One name in a path: bytes for Linux (NAME_MAX of limits.h), units of UTF-16 for FAT (Microsoft's fatgen103)."""

SYMLINKS = 40
"""Number of links that one path may lead through, as in Linux (path_resolution(7))."""

WORDS = 1024
"""Characters of one text for people in a manifest, such as a node's name or the reason of an edit."""

QUOTED = 200
"""Characters of outside text that an error or a line of progress repeats."""

# Downloads

SMALL_DOWNLOAD = 1 * MIB
"""One file that nobody has pinned: a signature, a key, a list of checksums."""

SMALL_DOWNLOAD_SECONDS = 120
"""Until such a file is here, from the first word to the server on."""

DOWNLOAD = 16 * GIB
"""A file that is pinned by its hash, while nobody knows its size; a whole Raspberry Pi OS has 3 GiB."""

DOWNLOAD_ATTEMPTS = 5
"""Number of times that one URL is asked, when the fault may pass."""

SERVER_CONNECT_SECONDS = 20
"""Until a server of downloads accepts a connection."""

SERVER_SILENCE_SECONDS = 60
"""Between two reads of an answer."""

SERVER_STALL_SECONDS = 60
"""In each span of so many seconds a server must send SERVER_STALL_BYTES, or is asked anew: one byte a minute would keep
a build waiting for ever."""

SERVER_STALL_BYTES = 64 * KIB
"""1 KiB a second is slower than any line that could fetch an image."""

SERVER_WAIT_SECONDS = 60
"""The longest pause that a server may ask for (RFC 9110, 10.2.3, `Retry-After`)."""

# Published images and sets

MANIFEST = 16 * MIB
"""One manifest, or a plan that `diff` reads. A worker's has 300 KiB."""

JSON_LEVELS = 32
"""Levels of nested objects and lists in a manifest. A worker's has 9."""

IMAGE = 64 * GIB
"""A raw image, by its manifest or by its pin."""

UNPACKED = 4 * GIB
"""Everything that `publish` unpacks of one image, or of one guest's disk, to look for private keys in it; the initrd of
Raspberry Pi OS has 250 MiB."""

PENDING = 256
"""Number of secrets that one manifest may say are missing."""

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
"""A compressed image has at most one frame, stream or block for each so many bytes of the image, on the average.
xz and zstd make blocks of 128 KiB and more."""

FRAME_EXCESS = 64 * KIB
"""Bytes that a frame of one chunk may have beyond the chunk's: some content cannot be compressed."""

WINDOW = 128 * MIB
"""The window of a .zst, or the dictionary of an .xz, that is not ours; that of `xz -9` is 64 MiB."""

XZ_MEMORY = WINDOW + 64 * MIB
"""Memory that unpacking one .xz may take: its dictionary, and the reader's own."""

ZIP_DIRECTORY = 1 * MIB
"""The central directory of a .zip with an image in it."""

# Volumes of an image

TAR_OF_VOLUME = 2
"""Times a volume's size: the tar of its files, with a tar's headers. A sparse file of terabytes would fill the disk."""

VOLUME_SILENCE_SECONDS = 600
"""Without a byte of a volume that the appliance reads; emulated on a busy machine it sends 10 MB a second."""

VOLUME_SECONDS = 7200
"""Until a volume is read: at that pace, 72 GB."""

DPKG_STATUS = 64 * MIB
"""var/lib/dpkg/status of an image: it is held in memory. 900 packages have 1 MiB."""

APT_FILE = 16 * MIB
"""A list of archives, or a keyring, of an image's /etc/apt; the largest keyring of Debian has 72 KiB."""

FAT_FILE = 512 * MIB
"""A file of a boot volume: it is held in memory. The largest is an initrd (INITRD)."""

FAT_FILE_SECONDS = 120
"""Until mtools has read it from a busy disk; a FAT's chain of clusters can be a circle."""

BOOT_TEXT = 64 * KIB
"""config.txt or cmdline.txt of an image that `boot` starts; Raspberry Pi OS has 2 KiB."""

KERNEL_WORDS = 2048
"""Characters of a command line: COMMAND_LINE_SIZE of an arm64 kernel (Linux, arch/arm64/include/uapi/asm/setup.h)."""

KERNEL = 256 * MIB
"""A kernel that `boot` or an installer's machine loads; the largest Raspberry Pi kernel has 35 MiB."""

INITRD = 512 * MIB
"""An initrd likewise; Raspberry Pi OS with all modules has 80 MiB."""

# Disks to flash

RECORD = 64 * KIB
"""The record of a node on a boot volume of a disk that `flash` looks at."""

FLASHED = 4 * MIB
"""output/flashed.jsonl: 20,000 flashes."""

DEVICE_LEVELS = 32
"""Block devices that stand on each other (RAID, LVM, crypt), as lsblk lists them."""

DISK_PROBE_SECONDS = 60
"""For one program that looks at a disk (lsblk, blkid, mtools and others): a failing disk never answers."""

# Programs and packages

LINE = 64 * KIB
"""One line that a tool or a package's script writes while it runs; the rest counts as the next line."""

ERRORS = 64 * KIB
"""The beginning of a program's standard error that is kept for an error; 15 lines of it are shown."""

ERROR_LINES = 200
"""The last lines that are kept of a program whose lines are followed while it runs."""

BINARY_KEY = 64 * KIB
"""A file that is searched for a key in DER or in an old binary form. Such a key has no mark within it, so a large file
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
"""Everything that an installer's machine fetches from its mirror; Alpine with k3s' needs is 150 MiB."""

REFUSALS_SHOWN = 20
"""Number of refused requests of an installer's machine that are told; it may ask for ever."""

INSTALLER_SECONDS = 3600
"""For an installation: emulated on a busy machine it takes ten times as long as with KVM, and packages come from the
network."""

INSTALLER_SILENCE_SECONDS = 900
"""Without a word on the installer's serial line."""

SERIAL = 16 * MIB
"""The serial line of a helper machine, in all; a whole life of an emulated Pi says 1 MiB."""

SERIAL_LINE = 64 * KIB
"""One line of it; a machine may never end one."""

CONNECTIONS = 64
"""At once on one listener that leads out of a machine's network. k3s keeps ten open."""

CONNECT_SECONDS = 60
"""Until another host, or the process that holds a machine's network, answers."""

INNER_CONNECT_SECONDS = 30
"""Until a port within a machine's network answers: less than CONNECT_SECONDS, so that the reason comes through."""

NETWORK_MESSAGE = 1 * KIB
"""One message of the process that holds a machine's network."""

QMP_SECONDS = 60
"""For one command to QEMU. QEMU answers at once, but a busy host may not."""

BOOT_SECONDS = 900
"""Until a booted image lets its user log in, or is off: about ten times what two quiet cores need."""

BOOT_PROBE_SECONDS = 900
"""For one script on the booted image."""

BOOT_SSH_CONNECT_SECONDS = 30
"""Until the booted image accepts a connection of ssh: a handshake takes several seconds under emulation."""

BOOT_SSH_SECONDS = 60
"""For a command that does nothing on it, with its connection."""

BOOT_GUEST_SECONDS = 3600
"""From power-on until the guest of the booted image has come up: it is emulated inside the emulation."""

BOOT_SETTLING_SECONDS = 180
"""From the login prompt until systemd says that the last target is reached; the line of it may be lost."""
