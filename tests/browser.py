"""A real Chromium for the tests of the pages: one a module, and a clean profile for each test.

A test module takes the fixtures by `from tests.browser import ...`. Where no browser is found its
tests are skipped, visibly; in CI that is a failure.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
# How long an expectation may take on a busy machine.
PATIENCE_MS = 20_000


def chromium_path(own: str) -> str | None:
    """The browser to drive: the one that is named, one on the PATH, or Playwright's `own`."""
    named = os.environ.get("FLYWHEEL_CHROMIUM")
    if named:
        return shutil.which(named)
    on_path = next(filter(None, map(shutil.which, NAMES)), None)
    return on_path or (own if os.path.exists(own) else None)


@contextmanager
def running_browser() -> Iterator[Browser | None]:
    """A headless browser with a profile of its own, or None where there is no browser."""
    with sync_playwright() as playwright:
        path = chromium_path(playwright.chromium.executable_path)
        if path is None:
            yield None
            return
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


# One a module and not one a session: while Playwright runs, its event loop runs in this thread, and
# no other test could start one.
@pytest.fixture(scope="module")
def browser() -> Iterable[Browser]:
    """A headless browser; without one the tests that take it are skipped, except in CI."""
    with running_browser() as found:
        if found is None:
            why = "no Chromium: install it, or name it in FLYWHEEL_CHROMIUM"
            if os.environ.get("CI") == "true":
                pytest.fail(why)
            pytest.skip(why)
        yield found


@contextmanager
def new_page(browser: Browser, **options: object) -> Iterator[Page]:
    """A page without cookies, whose storage is gone afterwards; `options` are the context's."""
    expect.set_options(PATIENCE_MS)
    context: BrowserContext = browser.new_context(**{"viewport": DESKTOP, **options})
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context.new_page()
    finally:
        context.close()
