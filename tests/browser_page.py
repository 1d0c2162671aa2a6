"""A page in a real headless Chromium, and everything that it said, asked for or tried."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Seconds for what takes milliseconds, however busy the machine is.
PATIENCE = 90.0
CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)


@dataclass
class Opened:
    """``requests`` are those that would have left the machine; they are refused."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def wait(self, expression: str) -> None:
        wait(self.page, expression)

    def quiet(self) -> bool:
        return self.console == [] and self.dialogs == [] and self.requests == []


def wait(page: Any, expression: str) -> None:
    """Until the expression is true; asked from outside, because the page forbids what would ask inside."""
    end = time.monotonic() + PATIENCE
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(40)


def settle(page: Any) -> None:
    """Until the page is as long, and where, as it was a moment ago: what is drawn late would move what is about to be clicked."""
    end, looks = time.monotonic() + PATIENCE, [""]
    while len(looks) < 4 or len(set(looks[-4:])) > 1:
        assert time.monotonic() < end, looks[-4:]
        page.wait_for_timeout(40)
        looks.append(page.evaluate("document.documentElement.scrollHeight + ' ' + scrollY"))


def complaint(message: Any) -> list[str]:
    """What a message in the console says; nothing of the browser's hints on its own work, which come with the load of the machine."""
    return [] if message.type == "verbose" else [f"{message.type}: {message.text}"]


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    # Chromium's own sandbox cannot start as root, which is how containers run tests.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


def open_page(browser: Any, report: Path, hash: str = "", **options: Any) -> Opened:
    """The report at this hash, its script started."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_default_timeout(1000 * PATIENCE)
    opened = Opened(context.new_page())

    def refuse(route: Any) -> None:
        opened.requests.append(route.request.url)
        route.abort()

    opened.page.route("http://**/*", refuse)
    opened.page.route("https://**/*", refuse)
    opened.page.on("console", lambda m: opened.console.extend(complaint(m)))
    opened.page.on("pageerror", lambda e: opened.console.append(f"error: {e}"))
    opened.page.on("dialog", lambda d: (opened.dialogs.append(d.message), d.dismiss()))
    opened.page.goto(report.as_uri() + hash)
    opened.page.wait_for_selector("html[data-ready]", state="attached")
    settle(opened.page)
    return opened
