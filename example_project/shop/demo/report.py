"""Counts what really happened and compares it with what was promised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from shop.demo.mails import STEP, most_at_once
from shop.demo.scenario import QUANTITY, SIGN_UPS, SKU, Outcome
from shop.demo.screen import Screen
from shop.demo.timeline import draw
from shop.demo.watch import Watch
from shop.effects import BEGUN, DONE, FAILED, Effect
from shop.models import Document, Product
from shop.story import story_of
from shop.tasks import email_processing, send_welcome_email
from trigger_celery import get_queue
from trigger_celery_django.models import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One promise, and what came of it."""

    promise: str
    expected: object
    found: object

    @property
    def kept(self) -> bool:
        """Whether it is exactly as promised."""
        return self.expected == self.found


@dataclass(frozen=True, slots=True)
class Times:
    """How often a step began, succeeded and failed; the rest was cut off by a crash."""

    begun: int
    done: int
    failed: int = 0

    def __str__(self) -> str:
        parts = [f"ran {self.begun}x", f"succeeded {self.done}x"]
        cut = self.begun - self.done - self.failed
        parts += [f"failed {self.failed}x"] if self.failed else []
        parts += [f"killed {cut}x"] if cut else []
        return ", ".join(parts)


ONCE = Times(1, 1)
KILLED_ONCE = Times(2, 1)


def findings(outcome: Outcome, effects: Sequence[Effect]) -> Iterator[Finding]:
    """Compare every promise with the effect log and the database."""
    invoice = {"fetch_order": ONCE, "render_invoice": KILLED_ONCE, "mail_invoice": ONCE}
    promised: dict[UUID, dict[str, Times]] = {
        outcome.order_run: {
            "fetch_order": ONCE,
            "charge": Times(2, 1, 1),
            "decrement_inventory": ONCE,
        },
        outcome.document_run: {
            "fetch_document": ONCE,
            "send_email": ONCE,
            "publish_document": ONCE,
        },
        outcome.child_killed_run: invoice,
        outcome.worker_killed_run: invoice,
    }
    for run, steps in promised.items():
        counted = _count(effects, run)
        task = Run.objects.get(pk=run).task
        for step in {**steps, **counted}:
            yield Finding(
                promise=f"{task}: {step}", expected=steps.get(step), found=counted.get(step)
            )
    yield from _database(outcome)
    yield from _mails(outcome, effects)


def _count(effects: Sequence[Effect], run: UUID) -> dict[str, Times]:
    lines = Counter((e.step, e.what) for e in effects if e.run == str(run))
    return {
        step: Times(lines[step, BEGUN], lines[step, DONE], lines[step, FAILED])
        for step, what in lines
        if what == BEGUN
    }


def _database(outcome: Outcome) -> Iterator[Finding]:
    yield Finding(
        promise=f"stock of {SKU}",
        expected=outcome.stock_before - QUANTITY,
        found=Product.objects.get(pk=SKU).stock,
    )
    yield Finding(
        promise="documents published",
        expected=1,
        found=Document.objects.exclude(published_at=None).count(),
    )
    for run, crashes in (
        (outcome.order_run, 0),
        (outcome.document_run, 0),
        (outcome.child_killed_run, 1),
        (outcome.worker_killed_run, 1),
    ):
        stored = Run.objects.get(pk=run)
        yield Finding(
            promise=f"{stored.task}: end, crashes",
            expected=("completed", crashes),
            found=(stored.state, stored.crashes),
        )


def _mails(outcome: Outcome, effects: Sequence[Effect]) -> Iterator[Finding]:
    task, limit = send_welcome_email.name, email_processing.concurrency_limit or 0
    runs = Run.objects.filter(pk__in=outcome.welcome_runs, state="completed", crashes=0)
    once = [run for run in outcome.welcome_runs if _count(effects, run).get(STEP) == ONCE]
    most = most_at_once(effects)
    queue = get_queue(email_processing.name)
    yield Finding(promise=f"{task}: completed", expected=SIGN_UPS, found=runs.count())
    yield Finding(promise=f"{task}: each sent once", expected=SIGN_UPS, found=len(once))
    # How many there are is up to the machine; one at a time would prove no limit.
    yield Finding(promise=f"{task}: most at once", expected=min(max(most, 2), limit), found=most)
    yield Finding(
        promise=f"{queue.name}: held, in line",
        expected=(0, 0),
        found=(queue.held, queue.waiting),
    )


def report(screen: Screen, outcome: Outcome, watch: Watch) -> list[str]:
    """Print timelines and findings; return the promises that were not kept."""
    watch.look()
    screen.heading("What each run went through")
    for run in outcome.runs:
        story = story_of(run)
        assert story
        draw(screen, story)
    screen.heading("What was promised, and what the effect log and the database say")
    found = list(findings(outcome, watch.effects))
    for finding in found:
        screen.line(_line(screen, finding))
    broken = [finding.promise for finding in found if not finding.kept]
    screen.line()
    if not broken:
        screen.line(screen.good(f"All {len(found)} promises kept, in {screen.elapsed:.0f} s."))
    screen.line("Look at the same runs in a browser: make serve, then /admin/ (demo / demo)")
    screen.line("The tasks are in example_project/shop/tasks.py")
    return broken


def _line(screen: Screen, finding: Finding) -> str:
    mark = screen.good("ok") if finding.kept else screen.bad("NO")
    text = f"  {mark}  {finding.promise:<36} {_text(finding.found)}"
    if finding.kept:
        return text
    return text + screen.bad(f"  (promised: {_text(finding.expected)})")


def _text(value: object) -> str:
    if value is None:
        return "nothing"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
