"""What stands in a Celery worker: its timer, its request and tracer, and our own tasks."""
