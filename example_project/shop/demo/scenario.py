"""What the demo does: four kinds of runs, started over HTTP, through two kinds of crashes."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from uuid import UUID

from shop.demo.browser import Browser
from shop.demo.mails import draw_mails, most_at_once
from shop.demo.processes import Process, Processes
from shop.demo.screen import Screen
from shop.demo.watch import DemoFailed, Watch
from shop.models import Document, Order, Product
from shop.tasks import email_processing, send_welcome_email
from trigger_celery import get_queue
from trigger_celery_django.models import Run, Wait

SKU, QUANTITY = "teapot", 2
SIGN_UPS = 25
MORE_PROCESSES = 16
"""More than the queue's limit, so that it is the limit that holds runs back."""


@dataclass(kw_only=True)
class Outcome:
    """The runs of one demo, for the report."""

    order_run: UUID
    document_run: UUID
    child_killed_run: UUID
    worker_killed_run: UUID
    welcome_runs: tuple[UUID, ...]
    stock_before: int

    @property
    def runs(self) -> tuple[UUID, ...]:
        """Those with a timeline, in the order in which they began."""
        return (
            self.order_run,
            self.document_run,
            self.child_killed_run,
            self.worker_killed_run,
        )


class Scenario:
    """Plays the demo once, against a web server that is up."""

    def __init__(
        self, screen: Screen, processes: Processes, browser: Browser, watch: Watch
    ) -> None:
        self._screen = screen
        self._processes = processes
        self._browser = browser
        self._watch = watch
        self._worker: Process = processes.worker()

    def play(self) -> Outcome:
        """Play all acts. Raises :exc:`DemoFailed` if something does not happen."""
        stock = Product.objects.get(pk=SKU).stock
        self._until_ready(self._worker, "2 pool processes, beat")
        order = self._order_whose_payment_fails_once()
        document = self._document_that_waits()
        first = self._invoice_whose_process_dies(order)
        second = self._invoice_whose_worker_dies(order)
        self._approval_arrives(document)
        welcome = self._many_sign_up()
        assert order.run_id
        assert document.run_id
        return Outcome(
            order_run=order.run_id,
            document_run=document.run_id,
            child_killed_run=first,
            worker_killed_run=second,
            welcome_runs=welcome,
            stock_before=stock,
        )

    def _until_ready(self, worker: Process, what: str) -> None:
        self._watch.until(f"{worker.name} is ready", lambda: " ready." in worker.tail(200))
        self._screen.event(f"{worker.name} is ready (pid {worker.pid}, {what})")

    def _order_whose_payment_fails_once(self) -> Order:
        self._screen.heading("1  An order: the payment fails once and is tried again")
        where = self._browser.post(
            "/orders/", product=SKU, quantity=QUANTITY, customer="ada@example.com"
        )
        self._screen.event(f"POST /orders/ -> {where}", self._screen.strong)
        order = Order.objects.get(pk=_number(where))
        self._until_completed(order.run_id)
        return order

    def _document_that_waits(self) -> Document:
        self._screen.heading("2  A document: its run asks for approval and waits up to 7 days")
        where = self._browser.post(
            "/documents/", title="Price list", text="All teas.", approver="grace@example.com"
        )
        self._screen.event(f"POST /documents/ -> {where}", self._screen.strong)
        document = Document.objects.get(pk=_number(where))
        waits = Wait.objects.open().filter(run=document.run_id, run__state="suspended")
        self._watch.until("the approval is waited for", waits.exists)
        self._screen.event("the run now holds no process, no connection and no message")
        return document

    def _invoice_whose_process_dies(self, order: Order) -> UUID:
        self._screen.heading("3  An invoice: kill -9 of the pool process that renders it")
        run, pid = self._start_invoice(order)
        if not self._worker.owns(pid):
            raise DemoFailed(f"pid {pid} is no process of {self._worker.name}")
        os.kill(pid, signal.SIGKILL)
        self._screen.event(f"kill -9 {pid}", self._screen.bad)
        self._until_completed(run)
        return run

    def _invoice_whose_worker_dies(self, order: Order) -> UUID:
        self._screen.heading("4  Another invoice: kill -9 of the whole worker, then a new worker")
        run, _ = self._start_invoice(order)
        lost = self._worker
        self._watch.expect_end_of(lost)
        lost.kill()
        self._screen.event(f"kill -9 -{lost.pid}  (all of {lost.name})", self._screen.bad)
        self._worker = self._processes.worker()
        self._until_ready(self._worker, "2 pool processes, beat")
        self._until_completed(run)
        return run

    def _approval_arrives(self, document: Document) -> None:
        self._screen.heading("5  The approval arrives, at a worker that never saw the run")
        where = f"{document.get_absolute_url()}decision/"
        self._browser.post(where, decision="approved")
        self._screen.event(f"POST {where}", self._screen.strong)
        self._until_completed(document.run_id)

    def _many_sign_up(self) -> tuple[UUID, ...]:
        limit = email_processing.concurrency_limit
        assert limit
        self._screen.heading(f"6  {SIGN_UPS} welcome e-mails, never more than {limit} at once")
        worker = self._processes.worker(MORE_PROCESSES, beat=False)
        self._until_ready(worker, f"{MORE_PROCESSES} pool processes")
        addresses = "\n".join(f"customer-{n}@example.com" for n in range(1, SIGN_UPS + 1))
        self._browser.post("/sign-ups/", addresses=addresses)
        self._screen.event(f"POST /sign-ups/ with {SIGN_UPS} addresses", self._screen.strong)
        self._watch.until("mails are sent", lambda: most_at_once(self._watch.effects) > 1)
        waiting = get_queue(email_processing.name).waiting
        self._screen.event(f"{waiting} runs are in line: they hold no process and no message")
        runs = Run.objects.filter(task=send_welcome_email.name)
        self._watch.until("all are welcomed", lambda: not runs.filter(finished_at=None).exists())
        self._watch.look()
        self._screen.event("all have ended; the effect log says how many were being sent:")
        draw_mails(self._screen, self._watch.effects, limit)
        return tuple(runs.values_list("pk", flat=True))

    def _start_invoice(self, order: Order) -> tuple[UUID, int]:
        """Start the run; return its id and the process that renders by now."""
        where = f"{order.get_absolute_url()}invoice/"
        self._browser.post(where)
        self._screen.event(f"POST {where}", self._screen.strong)
        order.refresh_from_db()
        run = order.invoice_run_id
        assert run
        self._watch.until(
            "the invoice is being rendered",
            lambda: self._watch.process_of("render_invoice", str(run)) is not None,
        )
        pid = self._watch.process_of("render_invoice", str(run))
        assert pid
        return run, pid

    def _until_completed(self, run_id: UUID | None) -> None:
        runs = Run.objects.filter(pk=run_id)
        ended = runs.exclude(finished_at=None)
        self._watch.until(f"run {run_id} has ended", ended.exists)
        state = runs.get().state
        if state != "completed":
            raise DemoFailed(f"run {run_id} ended as {state}: {runs.get().error}")


def _number(address: str) -> int:
    """Return the id at the end of an address such as ``/orders/1/``."""
    return int(address.rstrip("/").rpartition("/")[2])
