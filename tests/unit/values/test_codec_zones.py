"""Aware times of whatever library keep their instant, and come back with a zone of Python's own."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from support.exact import same
from trigger_celery.errors import EncodeError
from trigger_celery.values import JsonCodec, Registry

tz: Any = pytest.importorskip("dateutil.tz")
CODEC = JsonCodec()
BERLIN = ZoneInfo("Europe/Berlin")


def again(value: Any) -> Any:
    return CODEC.decode(CODEC.encode(value))


class Fixed(tzinfo):
    """Django's former FixedOffset, and many like it."""

    def __repr__(self) -> str:
        return type(self).__name__

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=-3)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "X"


class Summer(Fixed):
    """As the examples of Python's documentation: an offset without a date, another in summer."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1 if moment is not None and 3 < moment.month < 11 else 0)


class Broken(Fixed):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        raise OSError("no tables")


class Home(ZoneInfo):
    pass


@pytest.mark.parametrize(
    ("zone", "stored"),
    [
        (Fixed(), timezone(timedelta(hours=-3))),
        (tz.tzutc(), UTC),
        (tz.tzoffset("BRST", -7200), timezone(timedelta(hours=-2))),
        (tz.tzoffset(None, 20701), timezone(timedelta(seconds=20701))),
        (tz.gettz("Europe/Berlin"), BERLIN),
        (Home("Europe/Berlin"), BERLIN),
    ],
    ids=lambda zone: type(zone).__name__,
)
@pytest.mark.parametrize("month", [1, 7])
def test_a_zone_is_stored_by_its_offset_or_its_name(
    zone: tzinfo, stored: tzinfo, month: int
) -> None:
    value = datetime(2026, month, 15, 16, 23, 44, 5, tzinfo=zone)
    assert same(again([value]), [datetime(2026, month, 15, 16, 23, 44, 5, tzinfo=stored)])
    clock = time(16, 23, tzinfo=zone)
    assert same(again([clock]), [time(16, 23, tzinfo=stored)])


def test_what_pydantic_parsed_is_stored() -> None:
    pydantic = pytest.importorskip("pydantic")
    order: Any = pydantic.create_model("Order", at=datetime, clock=(time, time(0)))
    registry = Registry()
    registry.register(order)
    it = JsonCodec(classes=registry)
    for text, zone in (("Z", UTC), ("+05:30", timezone(timedelta(hours=5, minutes=30)))):
        data = f'{{"at":"2026-02-15T16:23:44{text}","clock":"10:00:00{text}"}}'
        value = order.model_validate_json(data)
        back: Any = it.decode(it.encode(value))
        assert back == value
        assert same(back.at, datetime(2026, 2, 15, 16, 23, 44, tzinfo=zone))
        assert same(again(value.clock), time(10, tzinfo=zone))


def test_what_pytz_localized_is_stored_by_its_name_to_the_second_of_two_hours() -> None:
    pytz = pytest.importorskip("pytz")
    berlin = pytz.timezone("Europe/Berlin")
    twice = datetime(2026, 10, 25, 2, 30)
    for is_dst, fold in ((True, 0), (False, 1)):
        back = again(berlin.localize(twice, is_dst=is_dst))
        assert same(back, twice.replace(tzinfo=BERLIN, fold=fold))
        assert back.astimezone(UTC) == berlin.localize(twice, is_dst=is_dst).astimezone(UTC)
    assert same(again(datetime(2026, 1, 1, tzinfo=pytz.utc)), datetime(2026, 1, 1, tzinfo=UTC))
    fixed = datetime(2026, 1, 1, tzinfo=pytz.FixedOffset(90))
    assert same(again(fixed), datetime(2026, 1, 1, tzinfo=timezone(timedelta(minutes=90))))
    # Its zones by themselves have the offset of the year 1893; the instant is what counts.
    careless = datetime(2026, 1, 1, tzinfo=berlin)
    assert again(careless).astimezone(UTC) == careless.astimezone(UTC)


@pytest.mark.parametrize(
    "zone", [Summer(), Broken(), tz.tzstr("EST5EDT")], ids=lambda zone: type(zone).__name__
)
def test_a_zone_without_one_offset_or_a_name_is_refused(zone: tzinfo) -> None:
    for value in (datetime(2026, 1, 1, tzinfo=zone), time(1, tzinfo=zone)):
        with pytest.raises(EncodeError) as caught:
            CODEC.encode({"at": value})
        assert (caught.value.path, caught.value.kind) == ("$.at", type(zone).__qualname__)
