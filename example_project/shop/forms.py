"""What customers and authors fill in."""

from __future__ import annotations

from typing import Any

from django import forms

from shop.models import Document, Order


class OrderForm(forms.ModelForm):
    """Places an order."""

    class Meta:
        model = Order
        fields = ("product", "quantity", "customer")

    def clean(self) -> dict[str, Any]:
        """Refuse what is not in stock."""
        cleaned = super().clean() or self.cleaned_data
        product, quantity = cleaned.get("product"), cleaned.get("quantity")
        if product and quantity is not None and not 1 <= quantity <= product.stock:
            self.add_error("quantity", f"Choose 1 to {product.stock}.")
        return cleaned


class DocumentForm(forms.ModelForm):
    """Hands a document in for approval."""

    class Meta:
        model = Document
        fields = ("title", "text", "approver")
        widgets = {"text": forms.Textarea(attrs={"rows": 3})}


class DecisionForm(forms.ModelForm):
    """Approves or rejects a document."""

    class Meta:
        model = Document
        fields = ("decision",)

    decision = forms.ChoiceField(choices=Document.Decision.choices)
