"""The story of a start, as waiting pages read it."""

import asyncio

import pytest

from gpubox.outlook import Place
from gpubox.progress import StartStory, about, ordinal, waiting_message


async def first(story, count):
    events = []
    async for event in story.events():
        events.append(event["message"])
        if len(events) == count:
            return events


async def test_every_page_reads_the_story_from_the_beginning():
    story = StartStory()
    story.tell("leased", 20, "one")
    early = asyncio.create_task(first(story, 3))
    await asyncio.sleep(0)
    story.tell("creating", 30, "two")
    story.tell("starting", 60, "three")
    assert await early == ["one", "two", "three"]
    assert await first(story, 3) == ["one", "two", "three"]


async def test_a_page_opened_late_reads_only_the_last_place_in_line():
    story = StartStory()
    story.tell("waiting", 10, "2nd in line", place=2)
    watching = asyncio.create_task(first(story, 3))
    await asyncio.sleep(0)
    story.tell("waiting", 10, "1st in line", place=1)
    await asyncio.sleep(0)
    story.tell("leased", 20, "yours")
    assert await watching == ["2nd in line", "1st in line", "yours"]
    assert await first(story, 2) == ["1st in line", "yours"]


async def test_news_that_say_nothing_new_are_not_told():
    story = StartStory()
    story.tell("waiting", 10, "1st in line", place=1)
    story.tell("waiting", 10, "1st in line", place=1)
    story.tell("leased", 20, "yours")
    assert await first(story, 2) == ["1st in line", "yours"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd"), (112, "112th")],
)
def test_places_are_told_as_people_say_them(number, words):
    assert ordinal(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "about a minute"), (840, "about 14 minutes"), (7200, "about 2 hours"), (3 * 86400, "about 3 days")],
)
def test_estimates_promise_no_more_than_is_known(seconds, words):
    assert about(seconds) == words


def test_the_basis_of_an_estimate_is_told():
    def said(**kwargs):
        return waiting_message(Place(**{"position": 2, "waiting": 3, "blocked": "", **kwargs}))

    assert said(estimate_seconds=840, basis="past machines") == "2nd in line, about 14 minutes"
    assert said(estimate_seconds=840, basis="time limits") == "2nd in line, at most 14 minutes"
    assert "no time can be told" in said(estimate_seconds=None, basis="")
    assert said(estimate_seconds=None, basis="", blocked="Out of order.") == "2nd in line. Out of order."
