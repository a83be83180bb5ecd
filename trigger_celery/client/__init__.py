"""The one set of verbs: to start, look at, list and manage runs, queues, waits, schedules."""
