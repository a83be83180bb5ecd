"""The durable tasks of the shop: ordinary functions, their steps are checkpointed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TypedDict

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.db.models import F
from django.utils import timezone

from shop import gateway
from shop.effects import effect
from shop.models import Document, Order, Product
from trigger_celery import (
    Event,
    Queue,
    RetryPolicy,
    create_token,
    cron,
    current_run,
    durable_task,
    open_waits,
    step,
    wait_for_event,
    wait_for_token,
)

REFUNDS = "refunds@example.com"
"""The people who decide about refunds."""

email_processing = Queue("email-processing", concurrency_limit=10)
"""The mail service refuses an eleventh mail while it sends ten."""


class Item(TypedDict):
    """One line of an order."""

    sku: str
    quantity: int


class OrderData(TypedDict):
    """An order as its tasks need it: values that a checkpoint can hold, no model."""

    id: int
    customer: str
    total: Decimal
    items: list[Item]


@step
def fetch_order(order_id: int) -> OrderData:
    """Read the order."""
    with effect("fetch_order"):
        order = Order.objects.select_related("product").get(pk=order_id)
        items: list[Item] = [{"sku": order.product_id, "quantity": order.quantity}]
        return {"id": order.pk, "customer": order.customer, "total": order.total, "items": items}


@step(retry=RetryPolicy(max_attempts=5))
def charge(order: OrderData) -> gateway.Payment:
    """Take the money, in five tries at most. The key stays the same at each of them."""
    with effect("charge"):
        return gateway.charge(order["total"], idempotency_key=current_run().idempotency_key)


@step(atomic=True)
def decrement_inventory(items: list[Item]) -> None:
    """Take the goods from stock, in one transaction with the checkpoint: exactly once."""
    with effect("decrement_inventory"):
        for item in items:
            stock = Product.objects.filter(pk=item["sku"])
            stock.update(stock=F("stock") - item["quantity"])


@durable_task(
    name="process-order",
    retry=RetryPolicy(max_attempts=3, factor=2, min_delay=1, max_delay=10),
)
def process_order(order_id: int) -> dict[str, object]:
    """Charge an order and take its goods from stock.

    Without ``retry=`` a task has one attempt, as in Celery. It is for steps without a policy of
    their own: the five tries of ``charge`` are five, whatever the task says.
    """
    order = fetch_order(order_id)
    payment = charge(order)
    decrement_inventory(order["items"])
    return {"order_id": order["id"], "charge_id": payment["id"]}


@step
def render_invoice(order: OrderData) -> str:
    """Render the invoice with a library that takes its time."""
    with effect("render_invoice"):
        time.sleep(settings.SHOP_RENDER_SECONDS)
        return f"Invoice for order {order['id']}: {order['total']} EUR"


@step
def mail_invoice(customer: str, invoice: str) -> None:
    """Mail the invoice."""
    with effect("mail_invoice"):
        send_mail("Your invoice", invoice, None, [customer])


@durable_task(name="send-invoice")
def send_invoice(order_id: int) -> None:
    """Render the invoice of an order and mail it."""
    order = fetch_order(order_id)
    invoice = render_invoice(order)
    mail_invoice(order["customer"], invoice)


@step
def fetch_user(user_id: int) -> str:
    """Return the address of a new user."""
    with effect("fetch_user"):
        return get_user_model().objects.get(pk=user_id).email


@step(retry=RetryPolicy(max_attempts=5))
def mail_welcome(to: str) -> None:
    """Mail the welcome through a service that takes its time."""
    with effect("mail_welcome"):
        time.sleep(settings.SHOP_MAIL_SECONDS)
        send_mail("Welcome to the tea shop", "Put the kettle on.", None, [to])


@durable_task(
    name="send-welcome-email",
    queue=email_processing,
    retry=RetryPolicy(max_attempts=3),
)
def send_welcome_email(user_id: int) -> None:
    """Welcome a new user; ten of these execute at once, however many sign up."""
    mail_welcome(fetch_user(user_id))


async def fetch_document(document_id: int) -> dict[str, str]:
    """Read the document."""
    with effect("fetch_document"):
        document = await Document.objects.aget(pk=document_id)
        return {"approver": document.approver, "url": document.get_absolute_url()}


async def send_email(to: str, subject: str, body: str) -> None:
    """Send an e-mail."""
    with effect("send_email"):
        await sync_to_async(send_mail)(subject, body, None, [to])


async def publish_document(document_id: int) -> None:
    """Make the document public."""
    with effect("publish_document"):
        await Document.objects.filter(pk=document_id).aupdate(published_at=timezone.now())


@durable_task(name="approval-flow")
async def approval_flow(document_id: int) -> str:
    """Ask for approval, wait for days if need be, then publish."""
    document = await fetch_document(document_id)
    await send_email(
        to=document["approver"],
        subject="Approval needed",
        body=f"Approve: {document['url']}",
    )
    approval = await wait_for_event(
        "approval-received",
        filter={"documentId": document_id},
        timeout=timedelta(days=7),
    )
    status = str(approval.payload["status"])
    if status == "approved":
        await publish_document(document_id)
    return status


@step
def ask_about_refund(refund: Mapping[str, object], url: str) -> None:
    """Ask whether the money goes back; anybody with the URL may answer."""
    with effect("ask_about_refund"):
        text = f"{refund['amount']} EUR for order {refund['order']}\nDecide: {url}"
        send_mail("A refund is asked for", text, None, [REFUNDS])


@step
def pay_back(refund: Mapping[str, object]) -> str:
    """Give the money back. The key stays the same however often this step is tried."""
    with effect("pay_back"):
        return gateway.pay_back(idempotency_key=current_run().idempotency_key)


@durable_task(name="review-refund", on_event="billing.refund.requested")
def review_refund(event: Event) -> str:
    """Let people decide about a refund that the billing service was asked for."""
    refund = event.payload["refund"]
    token = create_token(timeout=timedelta(days=7))
    ask_about_refund(refund, token.url)
    answer = wait_for_token(token, default={"approved": False})
    return pay_back(refund) if answer["approved"] else "refused"


@step
def remind() -> int:
    """Mail how many refunds are still undecided; return that number."""
    with effect("remind"):
        waits = [wait for wait in open_waits(limit=1000) if wait.task == review_refund.name]
        if waits:
            send_mail("Refunds to decide about", f"There are {len(waits)}.", None, [REFUNDS])
        return len(waits)


@durable_task(name="remind-of-refunds", schedule=cron("0 9 * * MON-FRI", tz="Europe/Paris"))
def remind_of_refunds() -> int:
    """Remind of refunds, each working day."""
    return remind()
