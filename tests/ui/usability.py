"""Ten tasks of the three kinds of people, played by a newcomer's hand on the sample company, one after the other.

`python -m tests.ui.usability` plays them, writes what each costs into `ui/usability.md` and takes the pictures beside
it; with a folder, it takes pictures of a desk and a phone, by day and by night, to look at.
"""

import asyncio
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from service import sample
from service.db.session import migrate
from service.settings import EMBEDDED, Settings
from tests.published import measure, publish
from tests.ui.browsing import DESK, PHONE, Watched, chromium
from tests.ui.newcomer import Newcomer
from tests.ui.screens import Screens, running_screens
from ui.sessions import COOKIE

ROOT = Path(__file__).parents[2]
PAGE, PICTURES = ROOT / "ui" / "usability.md", ROOT / "ui" / "pictures"
BEGIN, END = "<!-- tasks: begin -->\n", "<!-- tasks: end -->"
BICYCLE, PARCEL = "How much does it cost to take a bicycle?", "How much luggage can I take?"
BETTER = "A bicycle travels for 9 euros since May."
Who = Literal["Business user", "Reviewer", "Administrator"]
ROLES: dict[Who, str] = {"Business user": "user", "Reviewer": "reviewer", "Administrator": "administrator"}
NAMES = ("Mia", "Jonas", "Leila", "Paul", "Ines", "Rosa", "Emil", "Nora", "Olga", "Viktor")
"""A new person for each task."""


@dataclass(frozen=True)
class Task:
    name: str
    """The picture's as well."""
    who: Who
    title: str
    how: str
    play: Callable[[Newcomer, Screens], None]


@dataclass(frozen=True)
class Cost:
    clicks: int
    seconds: int


# The company


@contextmanager
def company(home: Path, schema: Path) -> Iterator[Screens]:
    """Brumelle, whose assistant knows its facts, with a candidate that is better, and what colleagues said."""
    checkpoint = Settings().home / "models" / EMBEDDED
    with running_screens(home, schema, base_model=str(checkpoint), threads=2) as screens:
        gateway = screens.gateway
        gateway.engine.known = {
            question: fact["answer_en"] for fact in sample.facts() for question in fact["questions_en"]
        } | {
            one["question"]: one["correction"].partition(": ")[2].capitalize() for one in sample.corrections()
        }
        tokens = [screens.token_of(name, "user") for name in ("Ana", "Ben")]
        colleagues = [
            httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {token}"})
            for token in tokens
        ]
        english = [one for one in sample.corrections() if one["language"] == "en"][:12]
        for number, one in enumerate(english):
            _corrected(colleagues[number % 2], one["question"], one["correction"])
        made = home / "made"
        made.mkdir()
        _released(screens, made)
        yield screens


def _plain(correction: str) -> str:
    """The same fact without the courtesy."""
    fact = correction.partition(": ")[2]
    return fact[:1].upper() + fact[1:]


def _corrected(person: httpx.Client, question: str, better: str) -> None:
    asked = {"model": "fanal", "messages": [{"role": "user", "content": question}]}
    answer = person.post("/v1/chat/completions", json=asked).raise_for_status().json()["id"]
    for said in (
        {"type": "rating", "rating": -1, "reasons": ["tone"]},
        {"type": "correction", "correction": better},
    ):
        person.post("/api/feedback", json={"completion_id": answer, **said}).raise_for_status()


def _released(screens: Screens, made: Path) -> None:
    admin, settings = screens.gateway.admin, screens.gateway.settings

    def post(path: str, **body: Any) -> dict[str, Any]:
        return admin.post(path, json=body).raise_for_status().json()

    file = admin.get("/v1/files", params={"purpose": "fine-tune"}).json()["data"][-1]["id"]
    job = post(
        "/v1/fine_tuning/jobs", model=settings.model_name, training_file=file, metadata={"assistant": "fanal"}
    )
    _, release = publish(settings, job["id"], made)
    measure(settings, post("/api/evaluations", release=release)["id"])


# The tasks


def ask_first(hand: Newcomer, screens: Screens) -> None:
    page = hand.page
    hand.read(page.locator("main"))
    hand.click(page.get_by_role("button", name="Sign in"))
    hand.read(page.locator(".welcome"))
    hand.click(page.get_by_role("button", name=BICYCLE))
    hand.read(page.locator("[data-completion] .text").first)
    hand.look()


def say_why(hand: Newcomer, screens: Screens) -> None:
    turn = _asked(hand, PARCEL)
    hand.click(turn.get_by_role("button", name="Bad answer"))
    hand.read(turn.locator(".why"))
    hand.click(turn.get_by_text("out of date", exact=True))
    hand.write("It is 23 kilos since May.", turn.locator("textarea[name=comment]"))
    hand.look()
    hand.click(turn.locator("[data-do=explain]"))
    expect(turn.locator(".why summary")).to_contain_text("since May")


def write_better(hand: Newcomer, screens: Screens) -> None:
    turn = _asked(hand, BICYCLE)
    hand.click(turn.get_by_role("button", name="Write the better answer"))
    hand.read(turn.locator("details.correct[open] .soft").last)
    expect(turn.locator("textarea[name=correction]")).to_be_focused()
    hand.press("Control+A")
    hand.write(BETTER)
    hand.click(turn.locator("[data-do=correct]"))
    hand.read(turn.locator(".better"))
    hand.look()


def find_again(hand: Newcomer, screens: Screens) -> None:
    page = hand.page
    _asked(hand, PARCEL)
    page.goto(screens.url)
    expect(page.locator(".welcome h1")).to_be_visible()
    _drawer(hand)
    hand.write("kilos", page.locator("#search input"))
    expect(page.locator("#side")).to_contain_text("Found in 1")
    hand.read(page.locator("#side li").first)
    hand.look()
    hand.click(page.locator("#side li a").first)
    expect(page.locator(".question")).to_have_text(PARCEL)


def share(hand: Newcomer, screens: Screens) -> None:
    page = hand.page
    _asked(hand, BICYCLE)
    hand.click(page.locator(".settled summary").first)
    hand.read(page.locator(".settled .menu[open] .pop"))
    hand.click(page.locator("[data-do=share]"))
    expect(page.locator("[data-link]")).to_be_visible()
    hand.click(page.locator("[data-copy=share]"))
    hand.look()


def judge(hand: Newcomer, screens: Screens) -> None:
    page = hand.page
    _go(hand, "Review")
    hand.read(page.locator("#item article"))
    hand.read(page.locator("#item .verdict legend").first)
    hand.click(page.locator(".segments label").first)
    hand.look()
    hand.click(page.locator("[data-do=judge]"))
    expect(page.locator(".strip").first).to_be_visible()


def train(hand: Newcomer, screens: Screens) -> None:
    page = hand.page
    _go(hand, "Studio")
    for number in (1, 2, 3, 4):
        step = page.locator(f"#round [data-step='{number}']:not([data-looking])")
        hand.read(step.locator("h2").first)
        for text in step.locator(".lead, .source:has([type=radio]:checked), h3").all():
            hand.read(text)
        if number == 3:
            hand.look()
        hand.click(step.locator(".primary").first)
    expect(page.locator("#detail .job")).to_be_visible()


def promote(hand: Newcomer, screens: Screens) -> None:
    page = hand.page
    _go(hand, "Studio")
    _tab(hand, "Releases")
    better = page.locator("[data-release='1']")
    hand.read(better)
    hand.look()
    hand.click(better.locator("[data-do=promote]"))
    hand.agree()
    expect(better.locator(".chip.live")).to_be_visible()


def invite(hand: Newcomer, screens: Screens) -> None:
    page = hand.page
    _go(hand, "Admin")
    hand.read(page.locator("#people section").first)
    hand.write("Theo", page.locator("#people [name=name]").first)
    hand.click(page.locator("#people [data-do=create]"))
    hand.read(page.locator("#people section").first.locator(".once p"))
    hand.click(page.locator("#people [data-copy=link]"))
    hand.look()


def give_key(hand: Newcomer, screens: Screens) -> None:
    page = hand.page
    _go(hand, "Admin")
    _tab(hand, "Access keys")
    form = page.locator("#keys form").first
    hand.read(page.locator("#keys section").first)
    hand.write("Ticket office", form.locator("[name=name]"))
    hand.click(form.get_by_text("Limits"))
    hand.write("200000", form.locator("[name=tokens_per_day]"))
    hand.click(form.locator("[data-do=create]"))
    hand.read(page.locator("#keys .once p"))
    hand.click(page.locator("#keys [data-copy=key]"))
    hand.look()


TASKS = (
    Task("first-question", "Business user", "Sign in and ask a first question",
         "Open the link that you were given, press *Sign in*, and press one of the questions there.", ask_first),
    Task("bad-answer", "Business user", "Say that an answer is wrong, and why",
         "Thumb down, a reason, a word of your own, *Save*.", say_why),
    Task("better-answer", "Business user", "Write the better answer",
         "*Write the better answer* opens the answer; type over it and save. Changes are marked.", write_better),
    Task("search", "Business user", "Find an earlier conversation",
         "A word of it in *Search*, then the conversation.", find_again),
    Task("share", "Business user", "Share a conversation with a colleague",
         "*Share*, *Make a link*, *Copy link*.", share),
    Task("review", "Reviewer", "Judge an answer that somebody corrected",
         "*Review* shows the one that is most worth your time. Read, choose a verdict, *Save*.", judge),
    Task("round", "Reviewer", "Start a round of training",
         "*Studio* proposes what there is to learn from. Three times *Next*, then *Start*.", train),
    Task("release", "Reviewer", "Put a better release live",
         "*Studio*, *Releases*: the candidate that passed its gate has one button.", promote),
    Task("invite", "Administrator", "Invite a colleague",
         "*Admin*, the name, *Add and make a link*, and copy the link.", invite),
    Task("key", "Administrator", "Give an application an access key with a daily limit",
         "*Admin*, *Access keys*, a name, *Limits*, the tokens a day, *Make a key*, and copy it.", give_key),
)  # fmt: skip


def play(
    browser: Browser, screens: Screens, task: Task, look: Callable[[Page], None], **options: Any
) -> Cost:
    """One task by somebody new, from where such a person begins. Raises what fails."""
    name, role = NAMES[TASKS.index(task)], ROLES[task.who]
    watched = Watched(browser, screens.url, **{**DESK, **options})
    hand = Newcomer(watched.page, look)
    if task.play is ask_first:
        admin = screens.gateway.admin
        user = admin.post("/api/users", json={"name": screens.gateway.free_name(name), "role": role}).json()
        watched.page.goto(f"{screens.url}/login?link={screens.link_of(user['id'])}")
    else:
        cookie = {"name": COOKIE, "value": screens.token_of(name, role), "url": screens.url}
        watched.context.add_cookies([cookie])  # type: ignore[list-item]
        watched.page.goto(screens.url)
        expect(watched.page.locator(".welcome h1")).to_be_visible()
    task.play(hand, screens)
    watched.page.wait_for_timeout(100)  # the last press is told by the browser a moment later
    watched.close()
    return Cost(hand.clicks, round(hand.seconds))


def rows(costs: dict[str, Cost]) -> list[str]:
    """The table of the page."""
    head = ["| | who | task | clicks | seconds |", "| --- | --- | --- | --- | --- |"]
    return head + [
        f"| {n} | {one.who} | [{one.title}](#{n}-{_anchor(one.title)}) | {cost.clicks} | {cost.seconds} |"
        for n, (one, cost) in enumerate(((one, costs[one.name]) for one in TASKS), 1)
    ]


def told(costs: dict[str, Cost]) -> str:
    """The part of the page that is made: the table, and each task with its picture."""
    parts = ["\n".join(rows(costs))]
    for n, one in enumerate(TASKS, 1):
        cost = costs[one.name]
        parts += [
            f"### {n}. {one.title}",
            f"{one.who}; {cost.clicks} clicks, {cost.seconds} seconds. {one.how}",
            f"![{one.title}](pictures/{one.name}.png)",
        ]
    return "\n\n".join(parts) + "\n"


def _anchor(title: str) -> str:
    """As GitHub makes one of a heading."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


def _asked(hand: Newcomer, question: str) -> Locator:
    """What was there before the task began."""
    before = hand.clicks, hand.seconds
    hand.page.locator("#composer textarea").fill(question)
    hand.page.keyboard.press("Enter")
    turn = hand.page.locator("[data-completion]").last
    expect(turn).to_be_visible()
    hand.clicks, hand.seconds = before
    return turn


def _drawer(hand: Newcomer) -> None:
    """On a phone the list of conversations is behind a button."""
    button = hand.page.locator("[data-menu]")
    if button.is_visible():
        hand.click(button)


def _go(hand: Newcomer, screen: str) -> None:
    """On a phone the pages are behind a button."""
    button = hand.page.locator("[data-pages]")
    if button.is_visible():
        hand.click(button)
    hand.click(hand.page.locator("nav").get_by_role("link", name=screen))


def _tab(hand: Newcomer, name: str) -> None:
    """A tab that has no room on a phone stands in a menu."""
    hand.page.get_by_role("tab").first.wait_for()
    tab = hand.page.get_by_role("tab", name=name)
    if not tab.is_visible():
        hand.click(hand.page.locator(".overflow-menu > button"))
        tab = hand.page.locator(".overflow-dropdown").get_by_role("button", name=name)
    hand.click(tab)


# The pictures


def picture(place: Path) -> Callable[[Page], None]:
    """A look that keeps what a page shows, in 128 colours."""

    def take(page: Page) -> None:
        page.wait_for_timeout(400)
        place.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(io.BytesIO(page.screenshot()))
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(place, optimize=True)

    return take


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    looks = {"desk-light": DESK, "desk-dark": DESK, "phone-light": PHONE, "phone-dark": PHONE}
    costs: dict[str, Cost] = {}
    for look, options in looks.items() if folder else [("", DESK)]:
        with tempfile.TemporaryDirectory() as home:
            schema = Path(home) / "schema" / "tailorbird.db"
            schema.parent.mkdir()
            asyncio.run(migrate(f"sqlite+aiosqlite:///{schema}"))
            with (
                company(Path(home), schema) as screens,
                sync_playwright() as playwright,
                chromium(playwright) as browser,
            ):
                for task in TASKS:
                    place = folder / f"{task.name}-{look}.png" if folder else PICTURES / f"{task.name}.png"
                    read = {"color_scheme": look.rpartition("-")[2] or "light", "locale": "en-GB"}
                    costs[task.name] = play(browser, screens, task, picture(place), **(options | read))
                    print(f"{look} {task.title}: {costs[task.name]}", flush=True)
    if folder is None:
        head, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(head + BEGIN + told(costs) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
