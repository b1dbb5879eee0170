"""A real browser for pages: headless Chromium, driven over a pipe by the DevTools protocol, standard library only."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 30.0
"""Seconds for any one answer."""


def program() -> str | None:
    """The first browser on PATH that can be driven."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Browser:
    """One process; `page` opens a tab in it."""

    to: int
    back: int
    received: bytes = b""
    last: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of one command. What is told meanwhile goes to `events`."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.last:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def read(self) -> dict[str, Any]:
        until = monotonic() + PATIENCE
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.back], [], [], max(until - monotonic(), 0))
            assert ready, "the browser does not answer"
            part = os.read(self.back, 1 << 20)
            assert part, "the browser has ended"
            self.received += part
        message, _, self.received = self.received.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def page(self, file: Path, *, width: int, dark: bool = False, media: str = "") -> Page:
        """The file in a new tab of that width, loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable", session)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", session, media=media, features=[scheme])
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        self.events.clear()
        self.call("Page.navigate", session, url=file.as_uri())
        page = Page(self, session)
        while not page.told("Page.loadEventFired"):
            self.events.append(self.read())
        return page


@dataclass(frozen=True)
class Page:
    """A loaded tab."""

    browser: Browser
    session: str

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self.browser.call(
            "Runtime.evaluate",
            self.session,
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def key(self, name: str) -> None:
        """Press and release, such as Tab."""
        for kind in ("rawKeyDown", "keyUp"):
            code = {"Tab": 9, "Enter": 13}[name]
            self.browser.call(
                "Input.dispatchKeyEvent", self.session, type=kind, key=name, windowsVirtualKeyCode=code
            )

    def told(self, method: str) -> list[dict[str, Any]]:
        """What the browser said of this page by that name, so far."""
        return [
            event["params"]
            for event in self.browser.events
            if event.get("method") == method and event.get("sessionId") == self.session
        ]

    def complaints(self) -> list[Any]:
        """Errors, warnings and everything else on the console."""
        entries = [one["entry"]["text"] for one in self.told("Log.entryAdded")]
        thrown = [one["exceptionDetails"]["text"] for one in self.told("Runtime.exceptionThrown")]
        return [*entries, *thrown, *(one["args"] for one in self.told("Runtime.consoleAPICalled"))]

    def requests(self) -> list[str]:
        """Every address asked for, data: among them."""
        return [one["request"]["url"] for one in self.told("Network.requestWillBeSent")]


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """A running browser with a profile of its own."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    flags += ["--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    pipes = f'exec "$@" 3<&{in_read} 4>&{out_write}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", pipes, "bash", program, *flags],
        pass_fds=(in_read, out_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(in_read)
    os.close(out_write)
    try:
        yield (driven := Browser(in_write, out_read))
        with suppress(AssertionError, OSError):
            driven.call("Browser.close")
    finally:
        os.close(in_write)
        os.close(out_read)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
