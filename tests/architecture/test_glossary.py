"""The glossary holds: code, tables, admin and pages use its words, each with one meaning."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.apps import apps

from support.pages import PAGES, ROOT, page

ROOTS = {
    "trigger_celery": ROOT / "trigger_celery",
    "trigger_celery_django": ROOT / "django_app" / "trigger_celery_django",
}
WORDS_OF_DESIGN = {
    *("task", "run", "segment", "step", "checkpoint", "attempt", "wait", "event", "token"),
    *("durable queue", "lease", "fence", "nudge", "sweep", "dead letter", "history", "replay"),
    *("retry", "rerun", "fork", "signal"),
}
FREE_PAGES = {
    "docs/explanation/comparison.md": "it describes other products in their words",
    "docs/reference/glossary.md": "it lists the words that are not used",
    "docs/index.md": "it announces the comparison",
}
FREE_IN_CODE = {
    ("channel", "trigger_celery.celery.file_transport"): "kombu's base class is called so",
}


def unused_words() -> dict[str, str]:
    """Return the words of the last column, each with the word that is used instead."""
    rows = [row for row in page("glossary").rows() if len(row) == 3 and row[0] != "word"]
    return {bad.lower(): row[0] for row in rows for bad in row[2].split(", ") if bad}


def words_of(text: str) -> set[str]:
    """Return the words of a text or an identifier, in lower case, also in the singular."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)
    words = {part.lower() for part in parts}
    return words | {word.removesuffix("s") for word in words}


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax trees of both packages, by name."""
    found = {}
    for name, root in ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            parts = [name, *path.relative_to(root).with_suffix("").parts]
            if "migrations" not in parts:
                module = ".".join(part for part in parts if part != "__init__")
                found[module] = ast.parse(path.read_text("utf-8"))
    return found


def names_and_docstrings(module: str, tree: ast.Module) -> Iterator[str]:
    """Yield what the module calls things, and how it describes them."""
    yield module.rpartition(".")[2]
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.arg):
            yield node.arg


def test_the_glossary_has_each_word_of_the_design_once() -> None:
    rows = [row for row in page("glossary").rows() if len(row) == 3 and row[0] != "word"]
    words = [word for row in rows for word in row[0].split(", ")]
    assert len(words) == len(set(words))
    assert WORDS_OF_DESIGN - set(words) == set()
    assert set(unused_words()) & set(words) == set()


def test_no_page_uses_another_word_for_what_has_one() -> None:
    unused = unused_words()
    assert unused.keys() >= {"job", "workflow"}
    offenders = {
        each.name: sorted(words_of(each.text) & unused.keys())
        for each in PAGES
        if each.name not in FREE_PAGES and words_of(each.text) & unused.keys()
    }
    assert offenders == {}


def test_no_name_and_no_docstring_uses_another_word_for_what_has_one() -> None:
    unused = unused_words()
    offenders = {
        (word, module)
        for module, tree in modules().items()
        for text in names_and_docstrings(module, tree)
        for word in words_of(text) & unused.keys()
    }
    assert offenders == FREE_IN_CODE.keys()


def test_no_table_and_no_label_uses_another_word_for_what_has_one() -> None:
    unused = unused_words()
    offenders = []
    for model in apps.get_app_config("trigger_celery").get_models():
        meta = model._meta
        texts = [meta.db_table, str(meta.verbose_name), str(meta.verbose_name_plural)]
        for field in meta.get_fields():
            texts += [field.name, str(getattr(field, "verbose_name", ""))]
        offenders += [(model.__name__, text) for text in texts if words_of(text) & unused.keys()]
    templates = ROOTS["trigger_celery_django"] / "templates"
    offenders += [
        (path.name, word)
        for path in templates.rglob("*.*")
        for word in words_of(path.read_text("utf-8")) & unused.keys()
    ]
    assert offenders == []


def test_a_dead_letter_is_called_so_in_full() -> None:
    pattern = re.compile(r"(?<!dead)(?<!dead_)(?<!Dead)(?<!DEAD_)letters?\b", re.I)
    offenders = [
        f"{module}:{node.lineno}"
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Name, ast.arg, ast.ClassDef, ast.FunctionDef))
        and pattern.search(getattr(node, "name", getattr(node, "id", getattr(node, "arg", ""))))
    ]
    assert offenders == []


ONE_MEANING_EACH = {
    "a record and the table that keeps it": """
        BulkOperation Checkpoint DeadLetter DeadLetterGroup Event FailedAttempt Run Schedule
        Subscription
        TaskVersion Token
    """,
    "a public call and the verb behind it": """
        complete_token send_event trigger
    """,
}
"""Names that two modules define, for one meaning of the word."""


def test_a_name_means_one_thing() -> None:
    """A class means one thing everywhere, any other name wherever its own folder is left."""
    allowed = " ".join(ONE_MEANING_EACH.values()).split()
    origins: dict[str, set[str]] = {}
    for module, tree in modules().items():
        for source, name in _imports(tree):
            origin = _origin(source, name)
            if origin and (
                name[0].isupper() and not name.isupper() or _folder(origin) != _folder(module)
            ):
                origins.setdefault(name, set()).add(origin)
    several = {name: sorted(where) for name, where in origins.items() if len(where) > 1}
    assert {name: where for name, where in several.items() if name not in allowed} == {}
    assert sorted(set(allowed) - several.keys()) == [], "one meaning now: take it off the list"


def _folder(module: str) -> list[str]:
    return module.split(".")[:2]


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module in modules():
            yield from ((node.module, alias.name) for alias in node.names)


@cache
def _origin(module: str, name: str) -> str | None:
    """Return the module that defines a name which ``module`` exports; None for a module."""
    if module not in modules() or f"{module}.{name}" in modules():
        return None
    for node in modules()[module].body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found = {node.name}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = {target.id for target in targets if isinstance(target, ast.Name)}
        else:
            continue
        if name in found:
            return module
    sources = [source for source, imported in _imports(modules()[module]) if imported == name]
    return _origin(sources[0], name) if sources else None


VAGUE = re.compile(
    r"(?<![a-z])(?:told|tells|telling|somebody|someone|nobody|whom|who|whoever)(?![a-z])", re.I
)
PERSON_WHO = re.compile(
    r"\b(anybody|callers?|customers?|operators?|people|persons?|readers?|those|users?),?\s+who\b",
    re.I,
)
"""Where "who" follows the person it means, the actor is named."""
FREE_WORDS = {
    "tests/architecture/test_glossary.py": "it lists these words",
}


def texts() -> Iterator[Path]:
    """Yield every page and every module, tests and the example project among them."""
    yield from ROOT.glob("*.md")
    yield from (ROOT / "docs").rglob("*.md")
    for root in (*ROOTS.values(), ROOT / "tests", ROOT / "example_project"):
        yield from root.rglob("*.py")
    yield ROOT / "tests" / "guarantees.toml"


def test_a_text_names_the_actor() -> None:
    """In prose and in names: the run, the worker, the sweep, the caller does what it does."""
    offenders = []
    for path in texts():
        name = str(path.relative_to(ROOT))
        text = PERSON_WHO.sub(lambda match: re.sub(r"\w", "-", match[0]), path.read_text("utf-8"))
        offenders += [
            f"{name}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if VAGUE.search(line) and name not in FREE_WORDS
        ]
    assert offenders == []
