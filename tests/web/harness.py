"""Pages in a real Chromium: a served application, a reader who sees nothing but it, accessibility, screenshots."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Route
from starlette.types import ASGIApp

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "out" / "screenshots"
WIDTHS = (390, 1280)
LANGUAGES = ("zh", "en")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch(playwright: Playwright) -> Browser:
    """Start Debian's Chromium; without it the tests of pages fail, as they prove nothing."""
    path = shutil.which("chromium")
    if path is None:
        raise RuntimeError(
            "make test-web needs Chromium: apt-get install chromium fonts-wqy-microhei (see .ci/run); none is on PATH."
        )
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


@contextmanager
def served(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve an application on loopback, at a free port unless told; gives its origin, by the name WebAuthn accepts."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", port))
    port = int(listener.getsockname()[1])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the application did not start")
        time.sleep(0.02)
    try:
        yield f"http://localhost:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@dataclass
class Reader:
    """A person with a browser that reaches the application and nothing else.

    Attributes:
        faults: what must not happen: requests to elsewhere, errors of scripts, breaches of the content security policy.
    """

    browser: Browser
    origin: str
    faults: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def open(
        self, path: str = "/", *, language: str = "zh", width: int = 1280, scheme: str = "light", scripts: bool = True
    ) -> Page:
        """Open a page in a browser of its own, with no cookie but the language's.

        Args:
            scheme: ``light`` or ``dark``.
            scripts: whether JavaScript runs.
        """
        context = self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=scripts,
            locale="zh-CN" if language == "zh" else "en-GB",
        )
        context.set_default_timeout(60_000)
        self.contexts.append(context)
        context.add_cookies([{"name": "digua_lang", "value": language, "url": self.origin}])
        context.route("**/*", self._only_the_application)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"script error: {error}"))
        page.on("console", self._listen)
        page.goto(self.origin + path)
        return page

    def close(self) -> None:
        """Close all browsers; AssertionError where anything forbidden happened."""
        for context in self.contexts:
            context.close()
        assert not self.faults, "\n".join(self.faults)

    def _only_the_application(self, route: Route) -> None:
        url = route.request.url
        if url.startswith((self.origin + "/", "data:", "blob:" + self.origin)):
            route.continue_()
        else:
            self.faults.append(f"request to elsewhere: {url}")
            route.abort()

    def _listen(self, message: Any) -> None:
        # Without an address it is axe-core's own doing, which tries a style; what a page does has the page's.
        if "Content Security Policy" in message.text and message.location["url"]:
            self.faults.append(message.text)


def axe(page: Page) -> None:
    """Check a page by axe-core: a serious or critical violation fails."""
    results = Axe().run(page)
    grave = [each for each in results.response["violations"] if each["impact"] in ("serious", "critical")]
    told = [
        f"{each['id']} ({each['impact']}): {each['help']}\n  {node['html'][:200]}\n  {node.get('failureSummary', '')}"
        for each in grave
        for node in each["nodes"][:5]
    ]
    assert not grave, f"{page.url}\n" + "\n".join(told)


def fits(page: Page) -> None:
    """Check that a page does not scroll sideways; tables scroll within their own frame."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{page.url} is {wide} px wider than the screen"


def shots(page: Page, name: str) -> None:
    """Check a page in both languages at both widths (axe, no sideways scrolling), and keep screenshots of it.

    The page is read anew each time; it comes back in the language and at the width it had.
    """
    before = page.viewport_size or {"width": 1280, "height": 900}
    cookies = {each["name"]: each for each in page.context.cookies()}  # type: ignore[typeddict-item]
    chosen = cookies.get("digua_lang", {}).get("value", "zh")  # type: ignore[call-overload]
    folder = SHOTS / Path(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    for language in (*[each for each in LANGUAGES if each != chosen], chosen):
        speak(page, language)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            fits(page)
            axe(page)
            page.screenshot(path=SHOTS / f"{name}-{language}-{width}.png", full_page=True)
    page.set_viewport_size(before)


def speak(page: Page, language: str) -> None:
    """Read the page in another language, as the cookie chooses it."""
    url = page.url.partition("#")[0]
    origin = "/".join(url.split("/")[:3])
    page.context.add_cookies([{"name": "digua_lang", "value": language, "url": origin}])
    page.goto(url)
    page.wait_for_selector("[aria-busy=true]", state="detached")  # parts that scripts fetch
