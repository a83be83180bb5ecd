"""JSON Schemas of what may come from outside: as stored text, and the check of a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trigger_celery.errors import InvalidOption, InvalidPayload, UsageError

try:
    import jsonschema
    import referencing
except ImportError:  # an extra; only tokens with a schema need it
    jsonschema = None  # type: ignore[assignment]

SHOWN = 200
"""How much of what is wrong with a payload its error says."""


def schema_text(schema: object) -> str:
    """Return the text of a JSON Schema: a mapping, a pydantic model's, or "" for None.

    Raises :exc:`InvalidOption` for what is no schema and :exc:`UsageError` without the
    extra ``schema``.
    """
    if schema is None:
        return ""
    describe = getattr(schema, "model_json_schema", None)
    found = describe() if isinstance(schema, type) and callable(describe) else schema
    if not isinstance(found, Mapping):
        raise InvalidOption(
            "expected schema to be a JSON Schema as a dict, or a pydantic model class, "
            f"got: {schema!r}"
        )
    library = _library()
    try:
        library.validators.validator_for(found).check_schema(found)
        return json.dumps(dict(found), sort_keys=True)
    except (library.SchemaError, TypeError, ValueError, RecursionError) as error:
        what = error.message if isinstance(error, library.SchemaError) else str(error)
        raise InvalidOption(f"expected schema to be a JSON Schema, got: {what}") from None


def check_payload(text: str, value: object) -> None:
    """Raise :exc:`InvalidPayload` unless ``value`` is what the schema of this text allows."""
    if not text:
        return
    library = _library()
    schema = json.loads(text)
    # An empty registry: a $ref never makes this process fetch anything.
    validator = library.validators.validator_for(schema)(schema, registry=referencing.Registry())
    try:
        error = library.exceptions.best_match(validator.iter_errors(value))
    except referencing.exceptions.Unresolvable as missing:
        raise InvalidPayload("$", f"its schema refers to what is not in it: {missing}") from None
    if error is not None:
        raise InvalidPayload(error.json_path, error.message[:SHOWN])


def _library() -> Any:
    if jsonschema is None:
        raise UsageError(
            "a token with a schema needs the library jsonschema: "
            "pip install 'trigger-celery[schema]'"
        )
    return jsonschema
