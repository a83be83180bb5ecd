"""The one set of verbs: Python API, commands, HTTP and admin call these and nothing below.

One module a noun: runs, copies of runs, queues, tokens, waits, events, schedules; ``starting``
and ``handles`` for runs that code starts. ``access`` decides what a caller may do and what the
record keeps, ``async_calls`` makes the async twins, ``installed`` holds the engine. A further
noun is a further module, whose verbs begin with ``access.permitted()``.
"""
