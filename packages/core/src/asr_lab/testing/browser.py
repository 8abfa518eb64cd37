"""Drive a headless Chromium by its own protocol over a pipe: no driver, no port, no network."""

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--mute-audio", "--remote-debugging-pipe"),
)

PATIENCE = 300.0
"""Seconds after which a browser that hangs is ended, and its test fails."""


def chromium() -> str:
    """Return the program of a Chromium or Chrome on the path; empty if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), "")


@dataclass
class Browser:
    """A page in a browser, and what happened in it."""

    to: IO[bytes]
    answers: IO[bytes]
    session: str = ""
    sent: int = 0
    requests: list[str] = field(default_factory=list)
    """Addresses that the page asked for, `data:` ones included."""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, of scripts and of the policy."""

    def call(self, method: str, **parameters: object) -> dict[str, object]:
        """Call a method of the protocol and return its result; AssertionError if it fails."""
        self.sent += 1
        message: dict[str, object] = {"id": self.sent, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while (answer := self._read()).get("id") != self.sent:
            self._note(answer)
        assert "error" not in answer, answer["error"]
        return cast(dict[str, object], answer["result"])

    def open(self, page: Path) -> None:
        """Load a file and wait until all of it is there; what happened before is forgotten."""
        self.requests.clear()
        self.complaints.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while (event := self._read()).get("method") != "Page.loadEventFired":
            self._note(event)

    def evaluate(self, script: str) -> object:
        """Return what an expression, or a promise, comes to; AssertionError if it throws."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return cast(dict[str, object], answer["result"]).get("value")

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element, as a hand would."""
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        x, y = cast(list[float], place)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def _read(self) -> dict[str, object]:
        content = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            content += byte
        return cast(dict[str, object], json.loads(content))

    def _note(self, event: Mapping[str, object]) -> None:
        """Remember requests and complaints."""
        method, about = event.get("method"), cast(dict[str, object], event.get("params", {}))
        if method == "Network.requestWillBeSent":
            self.requests.append(str(cast(dict[str, object], about["request"])["url"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about))
        elif method == "Runtime.consoleAPICalled" and about.get("type") in ("error", "warning"):
            self.complaints.append(json.dumps(about["args"]))
        elif method == "Log.entryAdded":
            entry = cast(dict[str, object], about["entry"])
            if entry["level"] in ("error", "warning"):
                self.complaints.append(str(entry["text"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser with an empty page and an empty profile; stop it at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            # The protocol is read from descriptor 3 and written to 4.
            ["/bin/sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null', "sh", chromium()]
            + [*FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin and process.stdout
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            yield _attached(Browser(process.stdin, process.stdout))
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()


def _attached(found: Browser) -> Browser:
    """Open a tab and listen to all that happens in it."""
    target = found.call("Target.createTarget", url="about:blank")["targetId"]
    session = found.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    found.session = str(session)
    for domain in ("Page", "Runtime", "Network", "Log"):
        found.call(f"{domain}.enable")
    return found
