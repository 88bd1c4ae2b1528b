"""The x86_64 guest: its disk, which all nodes share, and a node's seed, which tells it who it is."""

from __future__ import annotations

from builder.guests.alpine import Workshop
from builder.guests.baked import make_disk, recipe_of
from builder.guests.seed import make_seed

__all__ = ["Workshop", "make_disk", "make_seed", "recipe_of"]
