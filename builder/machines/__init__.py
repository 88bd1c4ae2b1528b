"""Helper machines: QEMU on the build host, which runs systems that may be hostile.

QEMU itself has few rights (`confined`), only a private network (`network`), files only by descriptor (`handed`), and a
serial line with a limit (`serial_line`).
"""
