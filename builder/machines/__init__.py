"""Helper machines: QEMU on the build host, for a system that nobody trusts.

QEMU itself has few rights (`confined`), no network but a private one (`network`), files by descriptor only (`handed`),
and a serial line that is bounded (`serial_line`).
"""
