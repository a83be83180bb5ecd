"""One stretch of a run inside one worker: its replay, its effects, its lines of control."""
