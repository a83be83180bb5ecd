"""What the shop keeps. An order or document knows the durable run that works on it."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from django.db import models
from django.urls import reverse

from shop.story import Story, story_of


class Product(models.Model):
    """Something to buy."""

    sku = models.SlugField(primary_key=True)
    name = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.name} ({self.price} EUR, {self.stock} in stock)"


class Order(models.Model):
    """One product in some quantity for one customer."""

    customer = models.EmailField()
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    run_id = models.UUIDField(null=True, editable=False)
    invoice_run_id = models.UUIDField(null=True, editable=False)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"Order {self.pk}"

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("shop:order", args=[self.pk])

    @property
    def total(self) -> Decimal:
        """What the customer pays."""
        return self.product.price * self.quantity

    @property
    def stories(self) -> list[Story]:
        """What its runs have done so far."""
        return _stories(self.run_id, self.invoice_run_id)


class Document(models.Model):
    """A text that goes public once an editor approves it."""

    class Decision(models.TextChoices):
        """What the approver said."""

        APPROVED = "approved"
        REJECTED = "rejected"

    title = models.CharField(max_length=100)
    text = models.TextField()
    approver = models.EmailField()
    decision = models.CharField(max_length=10, choices=Decision.choices, blank=True)
    published_at = models.DateTimeField(null=True, editable=False)
    run_id = models.UUIDField(null=True, editable=False)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("shop:document", args=[self.pk])

    @property
    def status(self) -> str:
        """Where it is on its way, in one word."""
        if self.published_at:
            return "published"
        return self.decision or "in review"

    @property
    def stories(self) -> list[Story]:
        """What its run has done so far."""
        return _stories(self.run_id)


def _stories(*run_ids: UUID | None) -> list[Story]:
    stories = (story_of(run_id) for run_id in run_ids if run_id is not None)
    return [story for story in stories if story is not None]
