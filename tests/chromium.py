"""A real browser for the tests of pages, and what it complains of."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WAIT_MS = 20_000  # a busy machine's patience, not the page's


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; closed after each file, since another's event loop cannot run beside Playwright's."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: install Debian's package chromium, or Chrome")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def complaint(message: ConsoleMessage) -> list[str]:
    """An error on the console, violations of a page's policy among them; not that the server refused or is gone."""
    ours = message.type in ("error", "warning") and not message.text.startswith("Failed to load resource")
    return [message.text] if ours else []
