"""A run as a tree of spans: built once as data, drawn as text or as a page."""

from __future__ import annotations

from trigger_celery_django.trace.build import trace_of
from trigger_celery_django.trace.spans import SpanKind, TraceSpan, as_data
from trigger_celery_django.trace.text import lines

__all__ = ["SpanKind", "TraceSpan", "as_data", "lines", "trace_of"]
