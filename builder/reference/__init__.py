"""The reference of all keys in profiles/, made from the models that read them: a page, a JSON schema for editors, and
the answer for one key."""

from __future__ import annotations

from builder.reference.keys import Key, below, find, keys, nearest_to
from builder.reference.kinds import KINDS, Kind
from builder.reference.page import page
from builder.reference.schema import json_schema

__all__ = ["KINDS", "Key", "Kind", "below", "find", "json_schema", "keys", "nearest_to", "page"]
