"""The JSON report's format as JSON Schema, made from the dataclasses, so that the two cannot part.

`python -m skew_checks.formats.json_schema > docs/skew-report.schema.json` renews the file; a test compares.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import textwrap
import types
from datetime import datetime
from enum import Enum, IntEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

from skew_checks.result.report import SCHEMA, SkewReport

NUMBER = {"$ref": "#/$defs/Number"}
SCALARS: dict[Any, dict[str, Any]] = {
    Any: {},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: NUMBER,
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
}


def json_schema() -> dict[str, Any]:
    """Of draft 2020-12. Further fields are allowed everywhere: newer versions have more."""
    definitions: dict[str, Any] = {
        "Number": {
            "description": "NaN and the infinities are an object.",
            "anyOf": [
                {"type": "number"},
                {
                    "type": "object",
                    "properties": {"float": {"enum": ["nan", "inf", "-inf"]}},
                    "required": ["float"],
                },
            ],
        }
    }
    schema = _of_class(SkewReport, definitions)
    head = {
        "schema": {"type": "integer", "minimum": SCHEMA, "description": "Version of this format."},
        "exit_code": {"type": "integer", "minimum": 0, "maximum": 4},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Marquee skew report",
        "$id": f"urn:marquee:skew-report:{SCHEMA}",
        **schema,
        "properties": {**head, **schema["properties"]},
        "required": [*head, *schema["required"]],
        "$defs": dict(sorted(definitions.items())),
    }


def _of_class(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints, told = get_type_hints(kind), _field_docstrings(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        described = {"description": told[field.name]} if field.name in told else {}
        properties[field.name] = {**_of_type(hints[field.name], definitions), **described}
    missing = dataclasses.MISSING
    needed = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is missing and field.default_factory is missing
    ]
    return {
        "type": "object",
        "description": inspect.getdoc(kind) or "",
        "properties": properties,
        "required": needed,
    }


def _of_type(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in SCALARS:
        return dict(SCALARS[kind])
    if get_origin(kind) in (Union, types.UnionType):
        (inner,) = [one for one in get_args(kind) if one is not type(None)]
        return {"anyOf": [_of_type(inner, definitions), {"type": "null"}]}
    if get_origin(kind) is dict:
        return {"type": "object", "additionalProperties": _of_type(get_args(kind)[1], definitions)}
    if get_origin(kind) is tuple:
        return _of_tuple(get_args(kind), definitions)
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        is_words = issubclass(kind, Enum)
        definitions[kind.__name__] = _of_words(kind) if is_words else _of_class(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _of_tuple(kinds: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if kinds[-1] is Ellipsis:
        return {"type": "array", "items": _of_type(kinds[0], definitions)}
    items = [_of_type(kind, definitions) for kind in kinds]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _of_words(kind: type[Enum]) -> dict[str, Any]:
    words = [one.name.lower() if issubclass(kind, IntEnum) else one.value for one in kind]
    return {"enum": words, "description": inspect.getdoc(kind) or ""}


def _field_docstrings(kind: type) -> dict[str, str]:
    """Of each field that has one beneath it, as this house writes them."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    told = {}
    for above, below in zip(body.body, body.body[1:], strict=False):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if is_text and isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name):
            told[above.target.id] = inspect.cleandoc(str(below.value.value))  # type: ignore[attr-defined]
    return told


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
