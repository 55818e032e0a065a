"""The browser's client of the channels: the scenarios that its Python twin is held to, in the browser that runs it."""

import json
from typing import Any

import pytest

from tests.browser.chromium import Browser, Page
from tests.realtime.client.scenarios import SCENARIOS
from tests.web.site import Site

pytestmark = pytest.mark.browser

# Runs every scenario; gives the first step of each that differs.
RUN = """
import('/static/js/lib/realtime.js').then(({ Machine }) => {
  const sorted = (value) => Array.isArray(value) ? value.map(sorted)
    : value !== null && typeof value === 'object' ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
    : value;
  const wrong = [];
  for (const [name, [options, steps]] of Object.entries(SCENARIOS)) {
    let key = 0;
    const machine = new Machine({ random: () => 0.5, key: () => `k${++key}`, hasToken: options.has_token, name: options.name });
    for (const [[method, ...given], expected] of steps) {
      let found;
      if (method === 'deadline') found = machine.deadline;
      else { machine[method](...given); found = machine.effects(); }
      const [is, should] = [found, expected].map((each) => JSON.stringify(sorted(each)));
      if (is !== should) { wrong.push([name, method, given, is, should]); break; }
    }
  }
  return wrong;
})
"""


# A client whose WebSocket is the test's: `socket.sent` has what went out, `socket.say` is the server's word.
CLIENT = """
class Socket {
  constructor() { this.sent = []; Socket.all.push(this); }
  send(text) { this.sent.push(text); }
  say(...items) { this.onmessage({ data: JSON.stringify(items) }); }
  greet() {
    this.onopen();
    this.say({ id: JSON.parse(this.sent[0])[0].id, connect: { client: 'c', user: null, expires_in: null, ping_s: 25 } });
  }
  close(code) { this.closed = code; }
  get commands() { return this.sent.flatMap((text) => JSON.parse(text)); }
}
Socket.all = [];
globalThis.WebSocket = Socket;
"""


async def _run(page: Page, script: str) -> Any:
    """What an async function with `Realtime` and `Socket` in it returns."""
    return await page.evaluate(f"import('/static/js/lib/realtime.js').then(async ({{ Realtime }}) => {{ {CLIENT} {script} }})")


@pytest.fixture
async def page(browser: Browser, site: Site) -> Page:
    page = await browser.page()
    await page.open(f"{site.url}/static/img/icon.svg")
    return page


async def test_machine_does_what_its_python_twin_does(page: Page) -> None:
    wrong: list[Any] = await page.evaluate(RUN.replace("SCENARIOS", json.dumps(SCENARIOS)))
    assert wrong == []


async def test_close_codes_and_pauses_are_those_of_the_table(page: Page) -> None:
    from nova.realtime.client.policy import after_close, pause
    from nova.realtime.close_codes import TABLE

    codes = [*TABLE, 1006, 1012, 1013, 4100, 4299, 4499]
    call = f"import('/static/js/lib/realtime.js').then(m => [{codes}.map(m.afterClose), [0, 1, 2, 7, 99].map(n => m.pause(n, 0.3))])"
    assert await page.evaluate(call) == [[after_close(code).value for code in codes], [pause(n, 0.3) for n in (0, 1, 2, 7, 99)]]


async def test_calls_that_waited_for_a_connection_are_more_than_one_message(page: Page) -> None:
    script = """
    const realtime = new Realtime('/v1/ws');
    for (let n = 0; n < 90; n++) realtime.publish('public:lobby', { n, pad: 'ü'.repeat(1000) });
    const [socket] = Socket.all;
    socket.greet();
    const sizes = socket.sent.map((text) => new TextEncoder().encode(text).length);
    return [Math.max(...sizes), socket.commands.filter((each) => each.publish).map((each) => each.publish.data.n)];
    """
    longest, numbers = await _run(page, script)
    assert longest <= 65_536
    assert numbers == list(range(90))


async def test_what_cannot_be_sent_is_refused_to_whoever_says_it(page: Page) -> None:
    script = """
    const realtime = new Realtime('/v1/ws');
    realtime.subscribe('public:lobby');
    await null;
    const said = ['as it was'];
    const circle = {};
    circle.circle = circle;
    const refused = [];
    for (const data of [circle, 1n, 'x'.repeat(65536)])
      await realtime.publish('public:lobby', data).catch((error) => refused.push(error.code ?? error.name));
    realtime.publish('public:lobby', said);
    said.push('later');
    const [socket] = Socket.all;
    socket.greet();
    return [refused, socket.commands.map((each) => each.subscribe?.channel ?? each.publish?.data)];
    """
    assert await _run(page, script) == [["TypeError", "TypeError", "too_large"], [None, "public:lobby", ["as it was"]]]


async def test_what_listeners_ask_for_comes_behind_what_is_being_done(page: Page) -> None:
    """The server is told to end a subscription after it was told to begin it, not before: else it would go on for ever, unheard."""
    script = """
    const realtime = new Realtime('/v1/ws');
    const room = realtime.subscribe('public:lobby');
    await null;
    realtime.addEventListener('state', ({ detail }) => detail.state === 'connected' && room.unsubscribe());
    const [socket] = Socket.all;
    socket.greet();
    return socket.commands.slice(1).map((each) => Object.keys(each)[1]);
    """
    assert await _run(page, script) == ["subscribe", "unsubscribe"]


async def test_client_that_is_stopped_while_it_opens_leaves_no_socket(page: Page) -> None:
    script = """
    const realtime = new Realtime('/v1/ws', { start: false });
    realtime.addEventListener('state', ({ detail }) => detail.state === 'opening' && realtime.stop());
    realtime.start();
    return [realtime.state, Socket.all.map((socket) => socket.closed ?? null)];
    """
    assert await _run(page, script) in (["stopped", []], ["stopped", [1000]])


async def test_ended_subscription_ends_no_other(page: Page) -> None:
    script = """
    const realtime = new Realtime('/v1/ws');
    const first = realtime.subscribe('public:lobby');
    first.unsubscribe();
    const second = realtime.subscribe('public:lobby');
    first.unsubscribe();
    return realtime.subscriptions.get('public:lobby') === second;
    """
    assert await _run(page, script)
