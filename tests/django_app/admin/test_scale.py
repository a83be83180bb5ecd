"""Timelines whose idle stretches are folded: monotone, whole, nothing of the work is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trigger_celery_django.drawing.scale import FOLD_WIDTH, Part, Scale

WEEK = 7 * 86_400.0
moments = st.floats(0, WEEK, allow_nan=False)
works = st.lists(st.tuples(moments, st.floats(0, 600)).map(lambda s: (s[0], s[0] + s[1])))


@given(works, moments, st.booleans(), st.none() | moments)
def test_later_is_further_right(
    work: list[tuple[float, float]], now: float, fold: bool, until: float | None
) -> None:
    scale = Scale(work, now, until=until, fold=fold)
    points = sorted({0.0, now, *(each for pair in work for each in pair if each <= now)})
    places = [scale.x(point) for point in points]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1 + 1e-9
    assert abs(scale.stretches[-1].right - 1) < 1e-9
    assert scale.stretches[0].left == 0


@given(works, moments)
def test_work_is_never_folded(work: list[tuple[float, float]], now: float) -> None:
    scale = Scale(work, now)
    for began, ended in work:
        for fold in scale.folds:
            assert ended <= fold.began or began >= fold.ended


@given(works, moments)
def test_stretches_cover_the_time_without_a_gap(
    work: list[tuple[float, float]], now: float
) -> None:
    stretches = Scale(work, now).stretches
    assert stretches[0].began == 0
    for before, after in zip(stretches, stretches[1:], strict=False):
        assert (before.ended, before.right) == (after.began, after.left)


def test_a_week_between_two_short_steps_is_a_narrow_fold() -> None:
    scale = Scale([(0, 0.2), (WEEK, WEEK + 0.3)], WEEK + 0.3)
    [fold] = scale.folds
    assert fold.ended - fold.began == WEEK - 0.2
    assert abs(fold.right - fold.left - FOLD_WIDTH) < 1e-9
    assert scale.x(0.2) - scale.x(0) > 0.3
    assert Scale([(0, 0.2), (WEEK, WEEK + 0.3)], WEEK + 0.3, fold=False).folds == []


def test_the_time_until_a_deadline_is_ahead_of_now() -> None:
    scale = Scale([(0, 1)], 3, until=WEEK)
    assert scale.future is not None
    assert scale.x(3) == scale.future.left
    assert scale.x(WEEK) == 1


def test_ticks_stand_at_round_seconds_of_stretches_of_work() -> None:
    scale = Scale([(0, 4)], 4)
    assert [tick.second for tick in scale.ticks()] == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert all(part.part is Part.WORK for part in scale.stretches)
