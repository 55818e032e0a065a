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
