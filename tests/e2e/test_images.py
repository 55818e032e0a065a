"""The page of pictures on a running server: one is dropped, its sizes and formats appear, on a desk and on a phone."""

import base64
import json
import subprocess
import sys

import pytest

from tests.browser.chromium import Browser
from tests.e2e.test_pages import at_peace, base
from tests.media.images import material
from tests.serving import Served

pytestmark = [pytest.mark.browser]

DROP = """
(() => {
  const bytes = Uint8Array.from(atob("%s"), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "a.jpg", { type: "image/jpeg" }));
  document.querySelector(".drop").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
})()
"""
MEASURED = "document.querySelectorAll('.picture tbody td[data-bytes]').length"


def sign_in(nova: Served) -> str:
    """A fresh sign-in URL, as an operator gets one."""
    command = [sys.executable, "-m", "nova", "login", "--json", "--data", str(nova.data)]
    url: str = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)["url"]
    return url


@pytest.mark.parametrize("phone", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_a_dropped_picture_shows_its_sizes(browser: Browser, nova: Served, phone: bool) -> None:
    page = await browser.page(width=390 if phone else 1280, phone=phone)
    await page.open(sign_in(nova))
    await page.until("document.querySelector('#account-menu') !== null")
    await page.open(f"{base(nova)}/images")
    await page.until("document.querySelector('.drop') !== null")
    data = material.with_exif(material.photo(640, 420), "jpeg", 6)
    await page.evaluate(DROP % base64.b64encode(data).decode())
    await page.until(f"{MEASURED} === 15", within=30)
    assert "640 × 420" in await page.text(".picture dl")
    assert "from one decode" in await page.text(".drop")
    sizes = await page.evaluate("[...document.querySelectorAll('[data-preset=large] td')].map((cell) => Number(cell.dataset.bytes))")
    assert sizes[0] < sizes[2], "AVIF is smaller than JPEG"
    assert await page.evaluate("document.querySelector('.picture img').naturalWidth") == 640
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.evaluate("document.querySelector('.picture .danger').click()")
    await page.until("document.querySelector('.picture') === null")
    at_peace(page, nova)


async def test_strangers_are_asked_to_sign_in(browser: Browser, nova: Served) -> None:
    page = await browser.page()
    await page.open(f"{base(nova)}/images")
    await page.until("document.querySelector('.sign-in') !== null")
    at_peace(page, nova)
