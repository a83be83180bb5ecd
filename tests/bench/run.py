"""The bench: ``make bench``. Prints ratios against references measured in the same run.

Exit codes: 0 measured (whether the bars are met or not), 1 a measure failed, 2 a service
is missing or the arguments make no sense.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import environment, table
from bench.contest import Bench, Comparison
from bench.counters import counters
from bench.peers import client

MEASURES = ("step", "runs", "latency", "replay", "wake", "many", "million", "limited")
BUILD = environment.ROOT / "build"
SETTINGS = "settings: CONN_MAX_AGE=None, CELERY_DB_REUSE_MAX, no results; for Celery's tasks alike"

Measure = Callable[[Bench], list[Comparison]]


def main(arguments: list[str] | None = None) -> int:
    """Run the bench and return its exit code."""
    options = _parse(arguments)
    if missing := environment.missing():
        needed = " and ".join(environment.NEEDED)
        print(f"the bench needs {needed}; not reachable: {', '.join(missing)}", file=sys.stderr)
        return 2
    names = options.only or list(MEASURES)
    with ExitStack() as stack:
        stack.enter_context(environment.own_database())
        stack.callback(counters().clear)
        found, failed = _measure(names, _prepare(options, stack))
    print(table.render(found))
    print(f"\n{SETTINGS}")
    table.write(options.output, found)
    print(f"written to {options.output}")
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small form; its numbers say little")
    parser.add_argument(
        "--only",
        action="append",
        choices=MEASURES,
        metavar="NAME",
        help=f"one of {', '.join(MEASURES)}; may be repeated",
    )
    parser.add_argument("--peers", action="store_true", help="against Absurd and DBOS too")
    parser.add_argument("--rounds", type=_positive, help="rounds of each measure (5, quick 2)")
    parser.add_argument("--output", type=Path, default=BUILD / "bench.json", metavar="FILE")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got: {number}")
    return number


def _prepare(options: argparse.Namespace, stack: ExitStack) -> Bench:
    """Set up Django on the new database, and the peers if they are wanted."""
    BUILD.mkdir(exist_ok=True)
    log = BUILD / "bench.log"
    log.write_text("")
    import_module("django").setup()
    import_module("django.core.management").call_command("migrate", verbosity=0)
    import_module("bench.bench_app").app.loader.import_default_modules()
    peers = client.start(BUILD / "peers-venv", log, stack) if options.peers else ()
    rounds = options.rounds or (2 if options.quick else 5)
    return Bench(quick=options.quick, rounds=rounds, log=log, peers=peers)


def _measure(names: list[str], bench: Bench) -> tuple[list[Comparison], bool]:
    """Take every measure; one that fails is named and does not stop the others."""
    found: list[Comparison] = []
    failed = False
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        # Imported here: its tasks need Django to be set up.
        measure: Measure = import_module(f"bench.measures.{name}").measure
        try:
            found += measure(bench)
        except Exception as error:
            failed = True
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            print(f"what the workers said is in {bench.log}", file=sys.stderr)
    return found, failed


if __name__ == "__main__":
    sys.exit(main())
