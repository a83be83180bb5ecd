"""The OpenAPI description of the API: it is true, and calls made from it find no fault."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from django.test import Client
from hypothesis import HealthCheck, settings

from trigger_celery import TriggerOptions
from trigger_celery.client.runs import RunFilters
from trigger_celery_django.apikeys import PERMISSIONS, create_key
from trigger_celery_django.urls import urlpatterns
from trigger_celery_django.views.description import FILTERS, OPERATIONS, OPTIONS, document

pytestmark = pytest.mark.django_db(transaction=True)

# Each boundary of each field by itself, its phase "coverage", would be hundreds of calls.
CONFIG = schemathesis.config.SchemathesisConfig.from_dict(
    {"phases": {"coverage": {"enabled": False}}}
)
api = schemathesis.openapi.from_dict(document("/durable/"), config=CONFIG)
api.app = get_wsgi_application()


def test_the_description_is_served_to_all() -> None:
    answer = Client().get("/durable/api/openapi.json")
    assert (answer.status_code, answer.json()) == (200, document("/durable/"))


def test_the_description_has_every_path_option_and_filter() -> None:
    known = {str(each.name) for each in urlpatterns if str(each.pattern).startswith("api/")}
    assert set(OPERATIONS) == known - {"api-description", "api-unknown"}
    assert set(OPTIONS) == {item.name for item in fields(TriggerOptions)}
    by_query = RunFilters.__annotations__.keys() - {"ids"}  # ids of runs are asked for by path
    assert set(FILTERS) == {*by_query, "limit", "cursor"}


@api.parametrize()
@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_calls_made_from_the_description_are_answered_as_it_says(
    case: schemathesis.Case[Any],
) -> None:
    _, key = create_key("a test", PERMISSIONS)
    # What is printable, or which options exclude each other, no schema can say.
    unsaid: list[Any] = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
    case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=unsaid)
