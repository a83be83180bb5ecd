"""What customers and authors fill in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User

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


class SignUpForm(forms.Form):
    """Signs people up: one address a line."""

    addresses = forms.CharField(
        label="E-mail addresses, one a line", widget=forms.Textarea(attrs={"rows": 3})
    )

    def clean_addresses(self) -> list[str]:
        """Return each address once. Refuses what is no address, and addresses of known users."""
        field = forms.EmailField(
            max_length=User._meta.get_field("username").max_length,
            error_messages={"invalid": "%(value)s is no e-mail address."},
        )
        lines = self.cleaned_data["addresses"].split()
        addresses = list(dict.fromkeys(field.clean(line) for line in lines))
        known = User.objects.filter(username__in=addresses).values_list("username", flat=True)
        if known:
            raise forms.ValidationError(f"Signed up before: {', '.join(known)}.")
        return addresses

    def save(self) -> list[User]:
        """Store a user for each address; these users cannot log in yet."""
        return User.objects.bulk_create(
            User(username=address, email=address, password=make_password(None))
            for address in self.cleaned_data["addresses"]
        )
