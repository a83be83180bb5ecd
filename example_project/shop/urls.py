"""Pages of the shop."""

from __future__ import annotations

from django.urls import path

from shop import views

app_name = "shop"
urlpatterns = [
    path("", views.front, name="front"),
    path("orders/", views.place_order, name="place-order"),
    path("orders/<int:pk>/", views.order, name="order"),
    path("orders/<int:pk>/invoice/", views.invoice, name="invoice"),
    path("documents/", views.hand_in, name="hand-in"),
    path("documents/<int:pk>/", views.document, name="document"),
    path("documents/<int:pk>/decision/", views.decide, name="decide"),
    path("sign-ups/", views.sign_up, name="sign-up"),
    path("welcome/", views.welcome, name="welcome"),
]
