"""The shop's pages; no worker runs, so that what a page stored can be looked at in peace."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.test import Client, TestCase

from shop import views
from shop.demo.mails import STEP, most_at_once
from shop.demo.report import findings
from shop.demo.scenario import Outcome
from shop.effects import BEGUN, DONE, Effect
from shop.models import Document, Order
from trigger_celery_django.models import Event, Run


class ShopTest(TestCase):
    """What visitors may do."""

    fixtures = ("catalog",)
    order = {"product": "teapot", "quantity": 2, "customer": "ada@example.com"}
    document = {"title": "Menu", "text": "Tea.", "approver": "grace@example.com"}

    def hand_in(self) -> Document:
        self.client.post("/documents/", self.document)
        return Document.objects.get()

    def test_an_order_appears_together_with_its_run(self) -> None:
        answer = self.client.post("/orders/", self.order)
        order = Order.objects.get()
        self.assertRedirects(answer, order.get_absolute_url())
        run = Run.objects.get()
        assert (run.pk, run.task, run.state) == (order.run_id, "process-order", "queued")

    def test_an_order_vanishes_together_with_its_run(self) -> None:
        delay = views.process_order.delay

        def fail_after(*args: object) -> None:
            delay(*args)
            assert Run.objects.exists()
            raise RuntimeError("the view failed")

        with (
            mock.patch.object(views.process_order, "delay", fail_after),
            self.assertRaisesMessage(RuntimeError, "the view failed"),
        ):
            self.client.post("/orders/", self.order)
        assert not (Order.objects.exists())
        assert not (Run.objects.exists())

    def test_what_is_not_in_stock_cannot_be_ordered(self) -> None:
        answer = self.client.post("/orders/", self.order | {"quantity": 11})
        self.assertContains(answer, "Choose 1 to 10.", status_code=views.INVALID)
        assert not (Order.objects.exists())
        assert not (Run.objects.exists())

    def test_an_order_shows_what_its_runs_do(self) -> None:
        self.client.post("/orders/", self.order)
        page = Order.objects.get().get_absolute_url()
        self.client.post(f"{page}invoice/")
        answer = self.client.get(page)
        for text in ("process-order", "send-invoice", "queued", "49.80 EUR"):
            self.assertContains(answer, text)

    def test_a_document_that_is_handed_in_starts_its_approval(self) -> None:
        document = self.hand_in()
        assert Run.objects.get(pk=document.run_id).task == "approval-flow"
        answer = self.client.get(document.get_absolute_url())
        for text in ("in review", "Approve", "Reject"):
            self.assertContains(answer, text)

    def test_the_first_decision_counts_and_sends_one_event(self) -> None:
        document = self.hand_in()
        for decision in ("rejected", "approved"):
            self.client.post(f"{document.get_absolute_url()}decision/", {"decision": decision})
        assert Document.objects.get().decision == "rejected"
        self.assertJSONEqual(
            Event.objects.get().payload, {"documentId": document.pk, "status": "rejected"}
        )

    def test_a_decision_that_was_not_offered_is_no_decision(self) -> None:
        document = self.hand_in()
        self.client.post(f"{document.get_absolute_url()}decision/", {"decision": "maybe"})
        assert not Event.objects.exists()

    def test_the_demo_notices_an_effect_too_many_and_one_too_few(self) -> None:
        run = UUID(views.process_order.delay(1).id)
        outcome = Outcome(
            order_run=run,
            document_run=run,
            child_killed_run=run,
            worker_killed_run=run,
            welcome_runs=(run,),
            stock_before=12,
        )
        effects = [
            Effect(run=str(run), step=step, what=what, pid=1, at=0)
            for step in ("mail_invoice", "mail_invoice", "render_invoice")
            for what in (BEGUN, DONE)
        ]
        broken = {finding.promise for finding in findings(outcome, effects) if not finding.kept}
        assert {
            "process-order: mail_invoice",
            "process-order: render_invoice",
            "process-order: fetch_order",
            "documents published",
            "process-order: end, crashes",
            "send-welcome-email: completed",
            "send-welcome-email: each sent once",
            "send-welcome-email: most at once",
        } == broken

    def test_mails_that_overlap_are_counted_and_the_demo_notices_one_too_many(self) -> None:
        for mails, at_once, kept in ((1, 1, False), (10, 10, True), (11, 11, False)):
            effects = list(overlapping(mails)) + list(overlapping(1, begin=1))
            assert most_at_once(effects) == at_once
            unknown = uuid4()
            run = UUID(views.process_order.delay(1).id)
            outcome = Outcome(
                order_run=run,
                document_run=run,
                child_killed_run=run,
                worker_killed_run=run,
                welcome_runs=(unknown,),
                stock_before=12,
            )
            [found] = [
                each for each in findings(outcome, effects) if each.promise.endswith("at once")
            ]
            assert found.kept == kept, mails

    def test_all_new_users_appear_together_with_their_runs(self) -> None:
        answer = self.client.post("/sign-ups/", {"addresses": "a@example.com\r\nb@example.com "})
        self.assertRedirects(answer, "/welcome/")
        assert set(User.objects.values_list("email", flat=True)) == {
            "a@example.com",
            "b@example.com",
        }
        runs = Run.objects.values_list("task", "queue", "state")
        assert list(runs) == [("send-welcome-email", "email-processing", "queued")] * 2
        self.assertContains(self.client.get("/welcome/"), "0 of 2")

    def test_no_user_is_signed_up_if_one_address_is_wrong_or_known(self) -> None:
        User.objects.create_user("a@example.com", "a@example.com")
        for addresses, text in (
            ("b@example.com\nb", "b is no e-mail address."),
            ("b@example.com\na@example.com", "Signed up before: a@example.com."),
            (" ", "This field is required."),
        ):
            answer = self.client.post("/sign-ups/", {"addresses": addresses})
            self.assertContains(answer, text, status_code=views.INVALID)
        assert User.objects.count() == 1
        assert not Run.objects.exists()

    def test_how_far_the_mails_are_can_be_seen_before_anybody_signs_up(self) -> None:
        answer = self.client.get("/welcome/")
        for text in ("0 of 0", "0, never more than 10"):
            self.assertContains(answer, text)

    def test_what_visitors_wrote_is_escaped(self) -> None:
        self.client.post("/documents/", self.document | {"title": "<b>", "text": "<i>"})
        for page in ("/", Document.objects.get().get_absolute_url()):
            answer = self.client.get(page)
            self.assertContains(answer, "&lt;b&gt;")
            self.assertNotContains(answer, "<b>")
            self.assertNotContains(answer, "<i>")

    def test_forms_need_their_token(self) -> None:
        strict = Client(enforce_csrf_checks=True)
        pages = ("/orders/", "/documents/", "/orders/1/invoice/", "/documents/1/decision/")
        for page in (*pages, "/sign-ups/"):
            assert strict.post(page, self.order).status_code == 403, page


def overlapping(mails: int, *, begin: float = 0) -> Iterator[Effect]:
    """Return the log of mails that begin one after another; all end at ``begin + 1``."""
    for number in range(mails):
        for what, at in ((BEGUN, begin + number / mails), (DONE, begin + 1)):
            yield Effect(run=str(number), step=STEP, what=what, pid=1, at=at)
