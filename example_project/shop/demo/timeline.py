"""Draws the story of a run for a terminal."""

from __future__ import annotations

from shop.demo.screen import Paint, Screen
from shop.story import BAD, GOOD, Moment, Story

NAME_WIDTH = 22


def draw(screen: Screen, story: Story) -> None:
    """Print every moment of the story."""
    lasted = f" after {story.lasted.total_seconds():.2f} s" if story.lasted else ""
    screen.line()
    screen.line(f"{screen.strong(story.task)}  {story.id}  {story.state}{lasted}")
    for index, moment in enumerate(story.moments):
        follows = story.moments[index + 1 :][:1]
        screen.line(_line(screen, moment, last=not (follows and follows[0].name)))


def _line(screen: Screen, moment: Moment, *, last: bool) -> str:
    time = f"{moment.after.total_seconds():8.2f} s"
    text = _paint(screen, moment.mood)(moment.text)
    if not moment.name:
        return f"{time}  {text}"
    return f"{time}  {'└─' if last else '├─'} {moment.name:<{NAME_WIDTH}} {text}"


def _paint(screen: Screen, mood: str) -> Paint:
    return {GOOD: screen.good, BAD: screen.bad}.get(mood, str)
