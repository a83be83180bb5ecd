"""A run as a tree of spans: built once as data, drawn as text or as a page."""

from __future__ import annotations

from trigger_celery_django.trace.build import span_of, trace_of
from trigger_celery_django.trace.rows import Rows, read
from trigger_celery_django.trace.spans import SpanKind, TraceSpan, Used, as_data
from trigger_celery_django.trace.text import lines

__all__ = [
    "Rows",
    "SpanKind",
    "TraceSpan",
    "Used",
    "as_data",
    "lines",
    "read",
    "span_of",
    "trace_of",
]
