"""Celery's task class with type parameters, which it has at run time only in later releases."""

from __future__ import annotations

from types import GenericAlias
from typing import TYPE_CHECKING

from celery import Task

if TYPE_CHECKING:
    GenericTask = Task
else:

    class GenericTask(Task):
        """What durable tasks derive from."""

        abstract = True
        __class_getitem__ = classmethod(GenericAlias)
