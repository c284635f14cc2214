"""Take the README's pictures from a running product: `python bench/screenshots.py --base-url http://127.0.0.1:8000`.

It signs in like anybody else, so it needs an address, an e-mail address and a password; those of the sample company
are the defaults. Writes queue.png and card.png into docs/img, and the same in dark as queue-dark.png and card-dark.png.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

WIDTH, HEIGHT = 1280, 960


def main() -> int:
    """Take the pictures; 1 and a sentence when there is nothing to show or nothing to show it with."""
    parser = argparse.ArgumentParser(description="Take the README's pictures from the running product.")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--email", default="ana@example.com")
    parser.add_argument("--password", default="copilot-demo")
    parser.add_argument("--to", type=Path, default=Path(__file__).resolve().parent.parent / "docs" / "img")
    given = parser.parse_args()
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("No Chromium found: install it or set CHROMIUM_PATH.", file=sys.stderr)
        return 1
    given.to.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        try:
            for scheme in ("light", "dark"):
                _take(browser, scheme, given)
        except LookupError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            browser.close()
    return 0


def _take(browser: Browser, scheme: str, given: argparse.Namespace) -> None:
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=2, color_scheme=scheme)
    page = context.new_page()
    base = given.base_url.rstrip("/")
    page.goto(f"{base}/sign-in")
    page.get_by_label("E-mail address").fill(given.email)
    page.get_by_label("Password").fill(given.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{base}/")
    ending = "" if scheme == "light" else f"-{scheme}"
    _picture(page, given.to / f"queue{ending}.png")
    card = _most_telling(page)
    page.goto(base + card)
    _picture(page, given.to / f"card{ending}.png")
    context.close()


def _most_telling(page: Page) -> str:
    """The first proposal that moves money, else the first at all; LookupError when nothing waits."""
    for selector in ("[data-item]:has(.amount) a.main", "[data-item] a.main"):
        found = page.locator(selector)
        if found.count():
            return str(found.first.get_attribute("href"))
    raise LookupError("Nothing waits in the queue yet; wait a moment for the first drafts and try again.")


def _picture(page: Page, path: Path) -> None:
    page.evaluate("document.activeElement && document.activeElement.blur()")
    page.wait_for_timeout(400)
    page.screenshot(path=path)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
