"""The page of a comparison in a real browser, and texts that try to break out of it."""

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import pytest

from asr_lab.cli import main
from asr_lab.data.spoken import read
from asr_lab.testing.browser import Browser, browser, chromium
from asr_lab.testing.results import write_result

PLAYERS, LISTED = 4, 30
HOSTILE = (
    "</script><script>document.title='broken'</script>",
    "<img src=x onerror=document.title='broken'>",
    '"><b id=broken>',
    "'><style>*{display:none}</style>",
    "<!-- \x00 \x1b[31m \ud800 &lt;",
    "https://example.com/ //example.com",
)
NAME = "</script><script>document.body.remove()</script>"
"""What a system is called; it comes first in the alphabet."""
WORDS = "document.querySelectorAll"
needs_browser = pytest.mark.skipif(
    not chromium(), reason="needs Chromium or Chrome on the path; Debian's package is chromium"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison of three systems with hostile names and texts."""
    folder = tmp_path_factory.mktemp("hostile")
    utterances: list[dict[str, object]] = [
        {"id": one.id, "reference": one.text, "duration": one.duration, "speaker": one.speaker}
        for one in list(read(None, "en", "test"))[::5]
    ]
    hostile: list[dict[str, object]] = [
        {"id": f"x {text}", "reference": f"{text} {'word ' * 30}", "speaker": text, "duration": 9.0}
        for text in HOSTILE
    ]
    for seed, share in enumerate((0.1, 0.12, 0.5)):
        write_result(folder / f"system{seed}", utterances + hostile, share, seed, "none")
    write_result(folder / "other", utterances, 0.1)
    words = [f"{NAME}={folder}/system0", f"one={folder}/system1", f"{folder}/system2"]
    words += [f"raw={folder}/other", "--dataset", "spoken/en", "--output", str(folder / "out")]
    limits = ["--players", str(PLAYERS + len(HOSTILE)), "--utterances", str(LISTED)]
    assert main(["compare", *words, *limits]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    """Return the page as it is written."""
    return (folder / "compare.html").read_text("utf-8")


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    """Return a browser for all tests of this file: to start takes longer than to show a page."""
    with browser() as found:
        yield found


@pytest.fixture
def shown(started: Browser, folder: Path) -> Browser:
    """Return it with the page loaded anew, as wide and as bright as at first."""
    started.call("Emulation.clearDeviceMetricsOverride")
    started.call("Emulation.setEmulatedMedia", features=[])
    started.open(folder / "compare.html")
    return started


class Addresses(HTMLParser):
    """Collects what a page refers to, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.elements: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        names = ("src", "href", "action", "data", "poster", "srcset", "background")
        self.found += [str(value) for name, value in attrs if name in names]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_the_page_refers_to_nothing_outside_and_holds_one_script(text: str) -> None:
    page = Addresses(text)
    assert page.found and all(address.startswith("data:") for address in page.found)
    assert (page.elements.count("script"), page.elements.count("style")) == (1, 1)
    assert not {"img", "iframe", "object", "form"} & set(page.elements)
    assert "\x00" not in text and "\x1b" not in text and "\ud800" not in text


def test_hostile_texts_stand_in_the_other_files_as_text(folder: Path) -> None:
    found = json.loads((folder / "compare.json").read_text())
    assert any(one["name"] == NAME for one in found["systems"])
    table = (folder / "compare.md").read_text()
    assert "<script" not in re.sub(r"\\<", "", table) and "\x1b" not in table


@needs_browser
def test_the_page_shows_without_an_error_and_without_a_request(shown: Browser, text: str) -> None:
    assert shown.complaints == []
    local = [one for one in shown.requests if not one.startswith("data:")]
    assert len(local) == 1 and local[0].endswith("/compare.html")
    assert cast(str, shown.evaluate("document.title")).startswith("Comparison of ")
    assert shown.evaluate("document.getElementById('broken')") is None
    assert shown.evaluate("document.querySelector('h1').innerText") == "Comparison of 4 systems"
    assert NAME in systems(shown)
    cards = cast(list[str], shown.evaluate(f"[...{WORDS}('article')].map(c => c.innerText)"))
    assert len(cards) == LISTED and any(HOSTILE[1] in card for card in cards)


@needs_browser
def test_the_browser_tells_of_errors_and_of_requests(started: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('oh'); missing()</script><img src='https://x.invalid/'>")
    started.open(page)
    assert any("oh" in one for one in started.complaints)
    assert any("missing is not defined" in one for one in started.complaints)
    assert "https://x.invalid/" in started.requests


@needs_browser
def test_what_got_past_the_escaping_would_not_run(
    shown: Browser, folder: Path, tmp_path: Path
) -> None:
    page, text = tmp_path / "compare.html", (folder / "compare.html").read_text("utf-8")
    bad = "<script>document.title='broken'</script><img src='https://x.invalid/'>"
    page.write_text(text.replace("<main>", f"<main>{bad}"), "utf-8")
    shown.open(page)
    assert cast(str, shown.evaluate("document.title")).startswith("Comparison of ")
    assert len([one for one in shown.complaints if "Content Security Policy" in one]) >= 2


def systems(shown: Browser) -> list[str]:
    """Return the first column of the first table."""
    script = f"[...{WORDS}('table')[0].tBodies[0].rows].map(r => r.cells[0].innerText)"
    return [text.split("\n")[0] for text in cast(list[str], shown.evaluate(script))]


@needs_browser
def test_a_click_on_a_heading_sorts_the_table(shown: Browser) -> None:
    before = systems(shown)
    script = f"[...{WORDS}('table')[0].tBodies[0].rows].map(r => +r.cells[1].dataset.value)"
    shown.click("thead th:nth-child(2) button")
    rising = cast(list[float], shown.evaluate(script))
    shown.click("thead th:nth-child(2) button")
    falling = cast(list[float], shown.evaluate(script))
    assert rising == sorted(rising) and falling == sorted(rising, reverse=True) != rising
    shown.click("thead th:nth-child(1) button")
    assert systems(shown) == sorted(before, key=str.casefold) != before
    state = f"[...{WORDS}('table')[0].tHead.rows[0].cells].map(c => c.getAttribute('aria-sort'))"
    assert cast(list[object], shown.evaluate(state))[:2] == ["ascending", None]


VISIBLE = f"[...{WORDS}('article')].filter(c => c.checkVisibility())"


@needs_browser
def test_utterances_are_found_filtered_and_sorted(shown: Browser) -> None:
    assert shown.evaluate(f"{VISIBLE}.length") == LISTED
    shown.click("#find")
    shown.call("Input.insertText", text="March")
    found = cast(list[str], shown.evaluate(f"{VISIBLE}.map(c => c.innerText)"))
    assert 0 < len(found) < LISTED and all("march" in card.casefold() for card in found)
    count = f"{len(found)} of {LISTED} shown"
    assert shown.evaluate("document.getElementById('count').textContent") == count
    choose(shown, "find", "", "input")
    choose(shown, "show", "differ")
    errors = cast(list[str], shown.evaluate(f"{VISIBLE}.map(c => c.dataset.errors)"))
    assert errors and all(len(set(one.split())) > 1 for one in errors)
    choose(shown, "show", "audio")
    assert shown.evaluate(f"{VISIBLE}.every(c => c.querySelector('audio'))")
    choose(shown, "show", "all")
    choose(shown, "order", "system-0")
    order = cast(list[str], shown.evaluate(f"{VISIBLE}.map(c => c.dataset.errors)"))
    first = [int(one.split()[0]) for one in order]
    assert first == sorted(first, reverse=True) and len(set(first)) > 1


def choose(shown: Browser, name: str, value: str, event: str = "change") -> None:
    """Give a field a value, as its menu does."""
    shown.evaluate(
        f"(() => {{ const e = document.getElementById('{name}'); e.value = {json.dumps(value)};"
        f" e.dispatchEvent(new Event('{event}', {{bubbles: true}})); }})()"
    )


@needs_browser
def test_the_worst_utterances_can_be_heard(shown: Browser) -> None:
    durations = shown.evaluate(
        f"Promise.all([...{WORDS}('audio')].map(a => new Promise((done, fail) => {{"
        " a.addEventListener('error', () => fail(a.error.message));"
        " if (a.error) fail(a.error.message);"
        " const tell = () => done([a.closest('article').dataset.duration, a.duration]);"
        " if (a.readyState) tell(); else a.addEventListener('loadedmetadata', tell); })))"
    )
    pairs = cast(list[tuple[str, float]], durations)
    assert PLAYERS <= len(pairs) <= PLAYERS + len(HOSTILE)
    assert all(found == pytest.approx(float(told), abs=0.01) for told, found in pairs)


@needs_browser
def test_kinds_of_errors_have_colours_and_lines_of_their_own(shown: Browser) -> None:
    for scheme in ("light", "dark"):
        feature = [{"name": "prefers-color-scheme", "value": scheme}]
        shown.call("Emulation.setEmulatedMedia", features=feature)
        style = "(s => { const c = getComputedStyle(document.querySelector(s)); return"
        style += " [c.color, c.backgroundColor, c.textDecorationLine]; })"
        kinds = [shown.evaluate(f"{style}('dd {one}')") for one in ("ins", "del", ".sub", "span")]
        colours, grounds, lines = zip(*cast(list[list[str]], kinds), strict=True)
        assert len(set(colours)) == len(set(grounds)) == 4
        assert lines == ("underline", "line-through", "none", "none")
        page = cast(str, shown.evaluate("getComputedStyle(document.body).backgroundColor"))
        brightness = sum(map(int, re.findall(r"\d+", page)[:3])) / 3
        assert brightness > 200 if scheme == "light" else brightness < 50


@needs_browser
@pytest.mark.parametrize("width", [320, 400, 1280])
def test_the_page_is_never_wider_than_the_window(width: int, shown: Browser) -> None:
    shown.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    assert cast(int, shown.evaluate("document.documentElement.scrollWidth")) <= width


@needs_browser
def test_plots_have_a_mark_for_every_system(shown: Browser) -> None:
    titles = cast(
        list[str], shown.evaluate(f"[...{WORDS}('svg title:first-child')].map(t => t.textContent)")
    )
    assert {"Word error rate", "Kinds of errors", "Difference to the best"} <= set(titles)
    dots = f"{WORDS}('svg')[0].querySelectorAll('circle').length"
    assert shown.evaluate(dots) == 4
    inside = (
        f"[...{WORDS}('svg circle')].every(c => {{ const o = c.getBoundingClientRect(),"
        " i = c.closest('svg').getBoundingClientRect();"
        " return o.left >= i.left && o.right <= i.right && o.bottom <= i.bottom; })"
    )
    assert shown.evaluate(inside)


def test_without_a_browser_on_the_path_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert chromium() == "" and shutil.which("sh") is None
