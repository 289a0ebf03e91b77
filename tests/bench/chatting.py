"""C1: fifty people chatting at once, through the real screens and the real gateway, and the API beside them.

An engine's stand-in writes each answer for five seconds. Everybody asks again as soon as the answer is there, so that
fifty answers are being written at any moment; one caller of the API is asked for its first token meanwhile and alone.
One real browser beside the fifty tells what a person sees. The fifty themselves run on the same cores.
"""

import asyncio
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from playwright.async_api import Error, async_playwright

from service.settings import EMBEDDED
from tests.bench.figures import Figure, of_percentiles, of_rounds, percentile
from tests.bench.people import Person, Shown, signed_in
from tests.bench.places import Place, gateway, screens, upstream
from tests.bench.streams import Way, ask, question, way
from ui.sessions import COOKIE

STORY = "C1"
PEOPLE, ANSWERS, WARM = 50, 8, 1
"""People, answers of each that are counted, and those before them."""
WORDS, SECONDS = 100, 5.0
"""An answer of the stand-in: twenty tokens a second, as fast as people read."""
ALONE = 150
"""Requests of the API without anybody beside it, before the fifty and again after them."""
WATCHED = 3
"""Answers that the real browser watches."""
SHORT = {"answers": 2, "alone": 40, "watched": 1}
"""Of the short form, for a try."""
WATCH = """async (question) => {
  const field = document.querySelector('#composer textarea');
  const before = document.querySelectorAll('[data-completion]').length;
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set.call(field, question);
  field.dispatchEvent(new Event('input', { bubbles: true }));
  await new Promise((done) => setTimeout(done, 100));
  const began = performance.now();
  const seen = { first: 0, took: 0, longest: 0 };
  let last = 0;
  const there = new Promise((done) => {
    const look = () => {
      const now = performance.now() - began;
      if (document.querySelector('#growing .text')) {
        if (seen.first) seen.longest = Math.max(seen.longest, now - last);
        seen.first ||= now;
        last = now;
      }
      if (document.querySelectorAll('[data-completion]').length > before) {
        seen.took = now;
        watcher.disconnect();
        done();
      }
    };
    const watcher = new MutationObserver(look);
    watcher.observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  document.querySelector('#composer .submit-button').click();
  await there;
  return seen;
}"""


@dataclass
class Found:
    """What was measured, in seconds."""

    rounds: dict[int, list[Shown]] = field(default_factory=dict)
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)
    """{process: processor seconds while answers were counted}."""
    lasted: float = 0.0
    watched: list[dict[str, float]] = field(default_factory=list)


async def measure(home: Path, *, short: bool = False) -> list[Figure]:
    """Starts what it needs."""
    size = SHORT if short else {"answers": ANSWERS, "alone": ALONE, "watched": WATCHED}
    found = Found()
    async with (
        upstream(home, WORDS, SECONDS) as engine,
        gateway(home, engine.url) as api,
        screens(home, api) as pages,
        way(api.url, EMBEDDED, api.key) as caller,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):  # fmt: skip
        assert api.key is not None, "the gateway has an administrator"
        await _let_it_speak(session, api)
        tokens = [await signed_in(session, api.url, api.key, f"Person {n}") for n in range(PEOPLE + 1)]
        people = [Person(session, pages.url, token) for token in tokens[1:]]
        for one in people:
            await one.open()
        found.alone += await _firsts(caller, size["alone"])
        places = {"the gateway": api, "the screens": pages, "the stand-in": engine}
        await _chat(people, size["answers"], caller, places, found)
        found.alone += await _firsts(caller, size["alone"])
        found.watched = await _watched(people, pages.url, tokens[0], size["watched"])
    return _figures(found)


async def _let_it_speak(session: aiohttp.ClientSession, api: Place) -> None:
    """Every assistant may say all that the stand-in has to; the sample's answers end sooner."""
    headers, path = {"authorization": f"Bearer {api.key}"}, f"{api.url}/api/assistants"
    async with session.get(path, headers=headers) as response:
        names = [one["name"] for one in (await response.json())["data"]]
    for name in names:
        async with session.patch(f"{path}/{name}", headers=headers, json={"max_tokens": WORDS}) as response:
            response.raise_for_status()


async def _chat(
    people: list[Person], answers: int, caller: Way, places: dict[str, Place], found: Found
) -> None:
    """All of them ask over and over; the first answers warm up, and their beginnings are spread over one answer."""
    counted, over = asyncio.Event(), asyncio.Event()

    async def one(number: int, person: Person) -> None:
        await asyncio.sleep(number * SECONDS / len(people))
        for turn in range(WARM + answers):
            shown = await person.ask(question())
            if turn == WARM - 1:
                counted.set()
            if turn >= WARM:
                found.rounds.setdefault(turn, []).append(shown)

    async def api() -> None:
        await counted.wait()
        while not over.is_set():
            found.beside += await _firsts(caller, 1)

    async def clock() -> None:
        await counted.wait()
        began, before = time.perf_counter(), {name: place.cpu() for name, place in places.items()}
        own = time.process_time()
        await over.wait()
        found.lasted = time.perf_counter() - began
        found.spent = {name: place.cpu() - before[name] for name, place in places.items()}
        found.spent["the people"] = time.process_time() - own

    async with asyncio.TaskGroup() as group:
        aside = [group.create_task(api()), group.create_task(clock())]
        try:
            await asyncio.gather(*(one(number, person) for number, person in enumerate(people)))
        except BaseException:
            for task in aside:
                task.cancel()
            raise
        over.set()


async def _firsts(caller: Way, count: int) -> list[float]:
    """Seconds to the first token, of requests one after the other."""
    return [(await ask(caller, question(), 1)).first for _ in range(count)]


async def _watched(people: list[Person], url: str, token: str, count: int) -> list[dict[str, float]]:
    """What a real page shows of `count` answers while the others go on; nothing where there is no browser."""
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
        except Error as error:
            print(f"C1 without a real page: {error.message.splitlines()[0]}", file=sys.stderr)
            return []
        context = await browser.new_context(locale="en-GB", viewport={"width": 1440, "height": 900})
        await context.add_cookies([{"name": COOKIE, "value": token, "url": url}])
        page = await context.new_page()
        await page.goto(url)
        await page.locator(".welcome h1").wait_for()
        over = asyncio.Event()

        async def go_on(number: int, person: Person) -> None:
            await asyncio.sleep(number * SECONDS / len(people))
            while not over.is_set():
                await person.ask(question())

        async with asyncio.TaskGroup() as group:
            for number, person in enumerate(people):
                group.create_task(go_on(number, person))
            await asyncio.sleep(SECONDS)
            seen = [await page.evaluate(WATCH, question()) for _ in range(count)]
            over.set()
        await browser.close()
    return seen


def _figures(found: Found) -> list[Figure]:
    answers = [shown for shown in found.rounds.values() for shown in shown]
    if min(one.took for one in answers) < SECONDS:
        raise RuntimeError("An answer was there before the stand-in had written it all: it was cut short.")
    figures = [
        _of_answers(f"an answer of {SECONDS:g} s with {PEOPLE} people, p{round(share * 100)}", found, "took",
                    share, at_most=6.5 if share == 0.95 else None)
        for share in (0.5, 0.95, 0.99)
    ]  # fmt: skip
    for share in (0.5, 0.95):
        figures.append(_of_answers(f"its first words, p{round(share * 100)}", found, "first", share))
    figures.append(of_rounds(STORY, "how often a growing answer is drawn", [one.updates for one in answers]))
    for share in (0.5, 0.95):
        beside, alone = (percentile(one, share) * 1000 for one in (found.beside, found.alone))
        what = f"the API's first token beside them / alone, p{round(100 * share)}"
        detail = f"{beside:.1f} / {alone:.1f} ms"
        figures.append(
            of_percentiles(STORY, what, found.beside, found.alone, share, at_most=1.1, detail=detail)
        )
    cores = os.cpu_count() or 1
    for name, seconds in found.spent.items():
        figures.append(
            of_rounds(STORY, f"processor time of {name} for an answer", [seconds * 1000 / len(answers)], unit="ms",
                      detail=f"{seconds / found.lasted:.2f} of {cores} cores")
        )  # fmt: skip
    if found.watched:
        parts = {"first": "its first words", "took": "the answer", "longest": "its longest pause"}
        for part, what in parts.items():
            values = [one[part] / 1000 for one in found.watched]
            figures.append(of_rounds(STORY, f"on a real page beside them: {what}", values, unit="s"))
    return figures


def _of_answers(what: str, found: Found, part: str, share: float, at_most: float | None = None) -> Figure:
    """A percentile of all answers, between the lowest and the highest round."""
    rounds = [percentile([getattr(one, part) for one in shown], share) for shown in found.rounds.values()]
    values = [getattr(one, part) for shown in found.rounds.values() for one in shown]
    return Figure(STORY, what, percentile(values, share), min(rounds), max(rounds), len(values), unit="s",
                  at_most=at_most)  # fmt: skip
