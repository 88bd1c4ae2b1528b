"""JSON schemas of the files. Editors use them to complete keys and show faults (json-schema.org, draft 2020-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from builder.model.values import parse_size
from builder.reference.kinds import Kind, NodeFile


class _Generator(GenerateJsonSchema):
    """pydantic's generator, adapted to the values in YAML: a size is a text with a unit."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        if schema["function"]["function"] is parse_size:
            return {"type": ["string", "integer"]}
        return super().function_before_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No title, because it would repeat the key."""
        return False


def json_schema(kind: Kind) -> dict[str, Any]:
    """The schema of a kind of files. In a layer no key is required."""
    schema = kind.model.model_json_schema(schema_generator=_Generator)
    if kind.is_layer:
        _loosen(schema)
    for name in schema["$defs"].keys() & _names_in_layers():
        _loosen(schema["$defs"][name])
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}


def _names_in_layers() -> set[str]:
    """Names of the definitions that are parts of a layer. A base's `defaults` are a layer too."""
    return {NodeFile.__name__, *NodeFile.model_json_schema(schema_generator=_Generator)["$defs"]}


def _loosen(schema: dict[str, Any]) -> None:
    """Make every key optional. As several variants may fit then, `oneOf` becomes `anyOf`."""
    for one in list(_mappings(schema)):
        if isinstance(one.get("required"), list):
            del one["required"]
        one.pop("discriminator", None)
        if "oneOf" in one:
            one["anyOf"] = one.pop("oneOf")


def _mappings(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _mappings(one)
