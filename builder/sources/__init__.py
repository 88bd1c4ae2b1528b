"""The one door to the network, and the cache of what came through it."""

from builder.sources.cache import Cache
from builder.sources.pins import Pin, fetch

__all__ = ["Cache", "Pin", "fetch"]
