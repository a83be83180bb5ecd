"""The shop's pages. A run starts, or an event is sent, in the transaction that it belongs to."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from shop.forms import DecisionForm, DocumentForm, OrderForm, SignUpForm
from shop.models import Document, Order
from shop.tasks import (
    approval_flow,
    email_processing,
    process_order,
    send_invoice,
    send_welcome_email,
)
from trigger_celery import get_queue, send_event
from trigger_celery_django.models import Run

INVALID = 422


@require_safe
def front(request: HttpRequest) -> HttpResponse:
    """Show orders, documents and sign-ups, and the forms for more."""
    return _front(request)


@require_POST
def place_order(request: HttpRequest) -> HttpResponse:
    """Store an order and start its run: both appear, or none does."""
    form = OrderForm(request.POST)
    if not form.is_valid():
        return _front(request, status=INVALID, order_form=form)
    with transaction.atomic():
        order = form.save()
        order.run_id = UUID(process_order.delay(order.pk).id)
        order.save(update_fields=["run_id"])
    return redirect(order)


@require_safe
def order(request: HttpRequest, pk: int) -> HttpResponse:
    """Show an order and what its runs do."""
    order = get_object_or_404(Order.objects.select_related("product"), pk=pk)
    return render(request, "shop/order.html", {"order": order})


@require_POST
def invoice(request: HttpRequest, pk: int) -> HttpResponse:
    """Send the invoice of an order, once more if it was sent before."""
    with transaction.atomic():
        order = get_object_or_404(Order, pk=pk)
        order.invoice_run_id = UUID(send_invoice.delay(order.pk).id)
        order.save(update_fields=["invoice_run_id"])
    return redirect(order)


@require_POST
def hand_in(request: HttpRequest) -> HttpResponse:
    """Store a document and start its approval."""
    form = DocumentForm(request.POST)
    if not form.is_valid():
        return _front(request, status=INVALID, document_form=form)
    with transaction.atomic():
        document = form.save()
        document.run_id = UUID(approval_flow.delay(document.pk).id)
        document.save(update_fields=["run_id"])
    return redirect(document)


@require_safe
def document(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a document, its approval, and the buttons to decide."""
    document = get_object_or_404(Document, pk=pk)
    return render(request, "shop/document.html", {"document": document})


@require_POST
def decide(request: HttpRequest, pk: int) -> HttpResponse:
    """Store the decision and send the event that the run waits for; the first one counts."""
    with transaction.atomic():
        document = get_object_or_404(Document.objects.select_for_update(), pk=pk)
        form = DecisionForm(request.POST, instance=document)
        if not document.decision and form.is_valid():
            form.save()
            send_event(
                "approval-received",
                {"documentId": document.pk, "status": document.decision},
                id=f"decision-{document.pk}",
            )
    return redirect(document)


@require_POST
def sign_up(request: HttpRequest) -> HttpResponse:
    """Store all new users, and start a run for each: all appear, or none does."""
    form = SignUpForm(request.POST)
    if not form.is_valid():
        return _front(request, status=INVALID, sign_up_form=form)
    with transaction.atomic():
        send_welcome_email.batch_trigger([(user.pk,) for user in form.save()])
    return redirect("shop:welcome")


@require_safe
def welcome(request: HttpRequest) -> HttpResponse:
    """Show how far the welcome e-mails are."""
    runs = Run.objects.filter(task=send_welcome_email.name)
    context = {
        "queue": get_queue(email_processing.name),
        "all": runs.count(),
        "sent": runs.filter(state="completed").count(),
    }
    return render(request, "shop/welcome.html", context)


def _front(request: HttpRequest, *, status: int = 200, **filled: forms.BaseForm) -> HttpResponse:
    context = {
        "order_form": OrderForm(),
        "document_form": DocumentForm(),
        "sign_up_form": SignUpForm(),
        **filled,
        "orders": Order.objects.select_related("product"),
        "documents": Document.objects.all(),
    }
    return render(request, "shop/front.html", context, status=status)
