"""Headless Chromium over a pipe of the DevTools protocol: one process for the whole run, one context (cookies, storage) per test.

The pipe (`--remote-debugging-pipe`) carries JSON messages that end with a NUL byte: no port, no WebSocket, and the
browser ends when the pipe closes, so a test run that is killed leaves nothing behind.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-features=Translate,MediaRouter,OptimizationHints,InterestFeedContentSuggestions",
    "--autoplay-policy=no-user-gesture-required",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

Event = dict[str, Any]


def find() -> str | None:
    """The Chromium of this machine, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Process:
    """A running Chromium. Started once; the tests' loops come and go on its pipe."""

    def __init__(self, program: str, profile: Path, *, flags: Sequence[str] = FLAGS, home: Path | None = None) -> None:
        """home: of its user, whose certificates it trusts."""
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # The browser reads descriptor 3 and writes 4. bash is the shell that redirects numbers above 9.
        redirected = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out} {theirs_in}<&- {theirs_out}>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", program, *flags, f"--user-data-dir={profile}", "about:blank"],
            env=os.environ if home is None else {**os.environ, "HOME": str(home)},
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._last_id = 0

    def next_id(self) -> int:
        """Ids are never used twice, so that a late answer to an earlier test meets nobody."""
        self._last_id += 1
        return self._last_id

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        """A fresh context: no cookies, no storage, no cache of the tests before."""
        async with trio.lowlevel.FdStream(os.dup(self._to)) as to, trio.lowlevel.FdStream(os.dup(self._from)) as come:
            browser = Browser(self, to)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(browser.listen, come)
                context = (await browser.call("Target.createBrowserContext", disposeOnDetach=True))["browserContextId"]
                browser.context = context
                yield browser
                await browser.call("Target.disposeBrowserContext", browserContextId=context)
                nursery.cancel_scope.cancel()

    def close(self) -> None:
        """End it, at the latest after five seconds by force, with everything that it started."""
        os.close(self._to)
        os.close(self._from)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)


class Browser:
    """One context of the process, on the loop of one test."""

    def __init__(self, process: Process, to: trio.lowlevel.FdStream) -> None:
        self._process = process
        self._to = to
        self._sending = trio.Lock()
        self._waiting: dict[int, trio.MemorySendChannel[Event]] = {}
        self._sessions: dict[str, Callable[[Event], None]] = {}
        self.context = ""

    async def listen(self, come: trio.lowlevel.FdStream) -> None:
        """Hand what arrives to whom it is for, until cancelled."""
        rest = b""
        async for data in come:
            *messages, rest = (rest + data).split(b"\0")
            for text in messages:
                message = json.loads(text)
                if "id" in message:
                    waiting = self._waiting.pop(message["id"], None)
                    if waiting is not None:
                        waiting.send_nowait(message)
                elif (heard := self._sessions.get(message.get("sessionId", ""))) is not None:
                    heard(message)

    async def call(self, method: str, session: str = "", **params: Any) -> Any:
        """One command and its result. Raises AssertionError with the browser's words when it refuses."""
        number = self._process.next_id()
        command: Event = {"id": number, "method": method, "params": params}
        if session:
            command["sessionId"] = session
        send, receive = trio.open_memory_channel[Event](1)
        self._waiting[number] = send
        async with self._sending:
            await self._to.send_all(json.dumps(command).encode() + b"\0")
        answer = await receive.receive()
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    async def page(self, *, width: int = 1280, height: int = 800, phone: bool = False, dark: bool = True) -> Page:
        """A new tab."""
        target = (await self.call("Target.createTarget", url="about:blank", browserContextId=self.context))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, session)
        self._sessions[session] = page.heard
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        # Without this the tab counts as hidden behind the others, and hidden pages poll and play less.
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        if phone:
            await page.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=1)
        await page.theme("dark" if dark else "light")
        return page


class Page:
    """One tab: what a person does in it, and what it did."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.requests: list[str] = []  # URLs asked for, in order
        self.problems: list[str] = []  # uncaught errors, console errors, refusals by the security policy
        self.answers: list[tuple[int, str]] = []  # status, URL

    async def call(self, method: str, **params: Any) -> Any:
        """A DevTools command for this tab."""
        return await self._browser.call(method, self._session, **params)

    def heard(self, event: Event) -> None:
        """Keep what tests ask about."""
        params = event["params"]
        match event["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.responseReceived":
                self.answers.append((params["response"]["status"], params["response"]["url"]))
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.problems.append(f"uncaught: {details.get('exception', {}).get('description', details['text'])}")
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                self.problems.append("console: " + " ".join(str(arg.get("value", arg.get("description", ""))) for arg in params["args"]))
            # "network" entries repeat 4xx answers, which are ordinary here: who asserts on them has `answers`.
            case "Log.entryAdded" if params["entry"]["level"] == "error" and params["entry"]["source"] != "network":
                self.problems.append(f"{params['entry']['source']}: {params['entry']['text']}")

    async def open(self, url: str) -> None:
        """Go there and wait until the document and what it names are loaded."""
        result = await self.call("Page.navigate", url=url)
        assert not result.get("errorText"), f"{url}: {result.get('errorText')}"
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression; promises are awaited."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']['exception'].get('description')}"
        return answer["result"].get("value")

    async def until(self, expression: str, within: float = 15) -> Any:
        """Wait until the expression is truthy; its value.

        Raises AssertionError after `within` seconds, with what the page shows and what went wrong in it.
        """
        with trio.move_on_after(within):
            while True:
                # The waiting happens in the page, next to what it waits for; a navigation ends it with an error and starts it anew.
                look = f"const look = () => {{ const v = ({expression}); v ? done(v) : setTimeout(look, 30) }}; look()"
                answer = await self.call(
                    "Runtime.evaluate", expression=f"new Promise(done => {{ {look} }})", awaitPromise=True, returnByValue=True
                )
                if "exceptionDetails" not in answer:
                    return answer["result"].get("value")
                description = answer["exceptionDetails"].get("exception", {}).get("description", "")
                assert not description.startswith(("SyntaxError", "ReferenceError")), description
        raise AssertionError(f"not within {within} s: {expression}\nproblems: {self.problems}\npage: {await self.text()}")

    async def text(self, selector: str = "body") -> str:
        """What a person reads there."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    async def click(self, selector: str) -> None:
        """A real click in the middle of the element, once it is there."""
        find = json.dumps(selector)
        await self.until(f"document.querySelector({find})?.getClientRects().length > 0")
        spot = await self.evaluate(
            f"(() => {{ const e = document.querySelector({find}); e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=spot[0], y=spot[1], button="left", clickCount=1)

    async def type(self, selector: str, text: str) -> None:
        """Put `text` into a field, as if typed."""
        await self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", text=text)

    async def key(self, key: str) -> None:
        """Press and release one key."""
        text = key if len(key) == 1 else {"Enter": "\r"}.get(key, "")
        code = {"Enter": 13, "Escape": 27}.get(key, 0)
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def look_again(self) -> None:
        """As a person who comes back to this tab: pages that wait for their next question ask at once."""
        await self.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    async def theme(self, scheme: str) -> None:
        """`dark` or `light`, as the system's setting."""
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def screenshot(self, path: Path) -> None:
        """What is on the screen now, as PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        await trio.Path(path).parent.mkdir(parents=True, exist_ok=True)
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))
