"""JSON Schemas of what may come from outside: as stored text, and the check of a value.

The author of a schema thinks of good values, and a stranger sends others. So what a check may
cost has a limit, whatever the schema says: each rule is charged for what it looks at, lists are
compared by one look at each element, and patterns by a library that gives up in time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache, wraps
from time import thread_time
from typing import Any, TypeAlias

from trigger_celery.errors import InvalidOption, InvalidPayload, UsageError
from trigger_celery.limits import CHECKED_ELEMENTS, CHECKED_PARTS, DEPTH, PATTERN_SECONDS

try:
    import jsonschema
    import referencing
    import regex
except ImportError:  # an extra; only tokens with a schema need it
    jsonschema = None  # type: ignore[assignment]

SHOWN = 200
"""How much of what is wrong with a payload its error says."""

_ERROR = 20
_CHARACTERS = 50
"""What an error is charged for being made, and how many characters are charged as one element."""

Rule: TypeAlias = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


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
        text = json.dumps(dict(found), sort_keys=True)
    except (library.SchemaError, TypeError, ValueError, RecursionError) as error:
        what = error.message if isinstance(error, library.SchemaError) else str(error)
        raise InvalidOption(f"expected schema to be a JSON Schema, got: {what}") from None
    if '"patternProperties"' in text and '"unevaluatedProperties"' in text:
        raise InvalidOption(
            "expected schema to use patternProperties or unevaluatedProperties, got: both, whose "
            "comparison with a value has no bound; name the properties, or use additionalProperties"
        )
    return text


def check_payload(text: str, value: object) -> None:
    """Raise :exc:`InvalidPayload` unless ``value`` is what the schema of this text allows.

    Also for a value that is too large, or nested too deep, to be compared with a schema, and for
    one whose comparison costs too much.
    """
    if not text:
        return
    _check_size(value)
    library, schema = _library(), json.loads(text)
    rules = _bounded(library.validators.validator_for(schema))
    # An empty registry: a $ref never makes this process fetch anything.
    validator = rules(_without_dialects(schema), registry=referencing.Registry())
    budget = _budget.set(_Budget())
    try:
        error = library.exceptions.best_match(validator.iter_errors(value))
    except referencing.exceptions.Unresolvable as missing:
        raise InvalidPayload("$", f"its schema refers to what is not in it: {missing}") from None
    except regex.error as wrong:
        raise InvalidPayload("$", f"its schema has no valid pattern: {wrong}") from None
    except (_TooMuch, TimeoutError):
        raise InvalidPayload(
            "$", "comparing it with its schema takes too long: send less, or a simpler value"
        ) from None
    except RecursionError:
        raise InvalidPayload("$", "it or its schema is nested too deeply") from None
    except (ArithmeticError, ValueError) as wrong:
        raise InvalidPayload("$", f"a number in it cannot be compared: {wrong}") from None
    finally:
        _budget.reset(budget)
    if error is not None:
        raise InvalidPayload(error.json_path, error.message[:SHOWN])


def _check_size(value: object) -> None:
    level, depth, left = [value], 0, CHECKED_ELEMENTS
    while level:
        left -= len(level)
        if left < 0:
            what = f"it has more than {CHECKED_ELEMENTS:,} values, too many for a schema"
            raise InvalidPayload("$", what)
        if depth > DEPTH:
            raise InvalidPayload("$", f"it is nested more than {DEPTH} levels deep")
        level = [part for each in level for part in _parts(each)]
        depth += 1


def _parts(value: object) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple, set, frozenset)) else ()


def _without_dialects(schema: Any) -> Any:
    """Return the schema without ``$schema``, at which the library would change to its own rules."""
    if isinstance(schema, dict):
        return {
            key: _without_dialects(each)
            for key, each in schema.items()
            if key != "$schema" or not isinstance(each, str)
        }
    return list(map(_without_dialects, schema)) if isinstance(schema, list) else schema


class _TooMuch(Exception):
    """A comparison has cost what one may cost."""


class _Budget:
    """What one comparison may still cost."""

    def __init__(self) -> None:
        self._parts = CHECKED_PARTS
        self._seconds = PATTERN_SECONDS

    def charge(self, parts: int) -> None:
        self._parts -= parts
        if self._parts < 0:
            raise _TooMuch

    def search(self, pattern: str, text: str) -> bool:
        self.charge(1 + len(text) // _CHARACTERS)
        if self._seconds <= 0:
            raise _TooMuch
        began = thread_time()
        # Other threads go on meanwhile.
        found = regex.search(pattern, text, timeout=self._seconds, concurrent=True)
        self._seconds -= thread_time() - began
        return found is not None


_budget: ContextVar[_Budget] = ContextVar("_budget")


@cache
def _bounded(rules: Any) -> Any:
    """Return the rules of a dialect so that each is charged for what it looks at."""
    own = {
        "uniqueItems": _unique,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
    }
    changed = {name: own.get(name, rule) for name, rule in rules.VALIDATORS.items()}
    if "additionalProperties" in changed:
        changed["additionalProperties"] = _additional(changed["additionalProperties"])
    charged = {name: _charged(rule) for name, rule in changed.items()}
    extend: Callable[..., Any] = jsonschema.validators.extend
    return extend(rules, validators=charged)


def _charged(rule: Rule) -> Rule:
    @wraps(rule)
    def bounded(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        budget = _budget.get()
        budget.charge(1 + _size(wanted) + _size(value))
        for error in rule(validator, wanted, value, schema) or ():
            # Most messages show the value.
            budget.charge(_ERROR + len(error.message) // _CHARACTERS)
            yield error

    return bounded


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value) // _CHARACTERS
    return len(value) if isinstance(value, (list, dict)) else 0


def _unique(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    if wanted and validator.is_type(value, "array"):
        texts = [json.dumps(_comparable(each), sort_keys=True) for each in value]
        _budget.get().charge(sum(map(len, texts)) // _CHARACTERS)
        if len(set(texts)) < len(texts):
            yield jsonschema.ValidationError("it has non-unique elements")


def _comparable(value: Any) -> Any:
    """Return a value whose text is that of all that JSON Schema takes for equal: 1 and 1.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _comparable(each) for key, each in value.items()}
    return list(map(_comparable, value)) if isinstance(value, (list, tuple)) else value


def _pattern(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "string") and not _budget.get().search(wanted, value):
        yield jsonschema.ValidationError(f"{value[:SHOWN]!r} does not match {wanted!r}")


def _pattern_properties(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(value, "object"):
        for pattern, inner in wanted.items():
            for key, each in value.items():
                if _budget.get().search(pattern, key):
                    yield from validator.descend(each, inner, path=key, schema_path=pattern)


def _additional(rule: Rule) -> Rule:
    """Return the rule for the keys that no pattern of the schema takes."""

    @wraps(rule)
    def additional(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        patterns = schema.get("patternProperties")
        if patterns and validator.is_type(value, "object"):
            search = _budget.get().search
            value = {
                key: each
                for key, each in value.items()
                if not any(search(pattern, key) for pattern in patterns)
            }
            schema = {name: each for name, each in schema.items() if each is not patterns}
        yield from rule(validator, wanted, value, schema) or ()

    return additional


def _library() -> Any:
    if jsonschema is None:
        raise UsageError(
            "a token with a schema needs the libraries jsonschema and regex: "
            "pip install 'trigger-celery[schema]'"
        )
    return jsonschema
