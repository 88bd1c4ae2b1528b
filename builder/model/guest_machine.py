"""The virtual machine of a node's guest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from builder.limits import MIB
from builder.model.strict import Strict
from builder.model.values import Mac, Size


class GuestMachine(Strict):
    memory: Literal["auto"] | Annotated[Size, Field(ge=256 * MIB)] = Field(
        description="Memory of the guest: auto for as much as the Pi can give, or a size. Swap may back a part of it.",
        examples=["auto", "60GiB"],
    )
    cpus: int = Field(ge=1, le=4, description="Processors of the guest. A Pi 4 has four cores.", examples=[3])
    tb_size: Size = Field(ge=32 * MIB, description="Size of QEMU's buffer for translated code.", examples=["256MiB"])
    stop_timeout: int = Field(
        ge=10, le=3600, description="Seconds to wait for a clean power-down of the guest.", examples=[300]
    )
    mac: Literal["derived"] | Mac = Field(
        description="MAC address of the guest's card: derived from cluster and node name, or an address in quotes.",
        examples=["derived", "52:54:00:12:34:56"],
    )
