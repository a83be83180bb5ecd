"""Parallel branches of one body: asyncio tasks, threads, and the race between them."""
