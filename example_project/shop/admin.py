"""The shop in the admin."""

from __future__ import annotations

from django.contrib import admin

from shop.models import Document, Order, Product

admin.site.register([Product, Order, Document])
