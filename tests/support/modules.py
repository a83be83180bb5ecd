"""Modules made of text: what pages show, imported from a file as async bodies need one."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def load(path: Path, source: str) -> ModuleType:
    """Write a module and run it; it is not kept, so its tasks are forgotten with the test."""
    path.write_text(source, encoding="utf-8")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
