"""`/v1/images` and `/img/…` as the contract draws them, with real worker processes."""

import io
import re
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import trio
from PIL import Image

from nova.cdn.cache.keeper import Keeper
from nova.ext.kept import PICTURES
from nova.ext.objects import ObjectTable
from nova.surface.fetch import CheckedFetch
from nova.surface.hot_pictures import HotPictures
from tests.media.images import material
from tests.surface.http.asgi import STRANGER, Answer
from tests.surface.http.conftest import Site

IMAGE = {
    "id", "owner", "width", "height", "format", "frames", "size_bytes", "digest", "thumbhash", "color", "urls", "created_at",
}  # fmt: skip
CHROMIUM = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


class Elsewhere(BaseHTTPRequestHandler):
    """A server with one picture."""

    def do_GET(self) -> None:
        body = material.saved(material.corners(), "png") if self.path == "/pics/a.png" else b""
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/pics/"
    server.shutdown()
    thread.join()
    server.server_close()


async def send(site: Site, data: bytes, user: str = "alice", query: str = "", kind: str = "application/octet-stream") -> Answer:
    return await site.ask("POST", f"/v1/images{query}", body=data, user=user, headers={"Content-Type": kind})


async def made(site: Site, data: bytes | None = None, **more: Any) -> dict[str, Any]:
    answer = await send(site, data or material.saved(material.corners(), "png"), **more)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json
    return found


def local(url: str) -> str:
    return url.removeprefix("http://nova.test:8080")


async def signed(site: Site, image: str, options: str = "", ext: str | None = None, **more: Any) -> str:
    answer = await site.ask("POST", f"/v1/images/{image}/url", {"options": options, "ext": ext, **more}, user="alice")
    assert answer.status == 200, answer.body
    return local(answer.json["url"])


def form(data: bytes, name: str = "file") -> tuple[bytes, str]:
    body = (
        b'--x1\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        + f'--x1\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: text/plain\r\n\r\n'.encode()
        + data
        + b"\r\n--x1--\r\n"
    )
    return body, "multipart/form-data; boundary=x1"


async def test_a_picture_has_the_contracts_shape(site: Site) -> None:
    data = material.with_exif(material.corners(), "jpeg", 6)
    answer = await send(site, data)
    assert answer.status == 201
    found = answer.json
    assert set(found) == IMAGE | {"variants"}
    assert answer["location"] == f"/v1/images/{found['id']}"
    assert (found["width"], found["height"], found["format"], found["size_bytes"]) == (96, 64, "jpeg", len(data)), "upright"
    assert re.fullmatch(r"[0-9a-f]{64}", found["digest"])
    assert re.fullmatch(r"#[0-9a-f]{6}", found["color"])
    assert {"avatar", "thumb", "large"} <= set(found["urls"])
    assert {(each["preset"], each["format"]) for each in found["variants"]} >= {("thumb", "avif"), ("large", "jpg")}
    again = await site.ask("GET", answer["location"])
    assert again.json == {name: found[name] for name in IMAGE}
    listed = await site.ask("GET", "/v1/images", user="alice")
    assert [each["id"] for each in listed.json["items"]] == [found["id"]]
    assert (await site.ask("GET", "/v1/images", user="bob")).json["items"] == []
    assert (await site.ask("GET", "/v1/images")).status == 401


@pytest.mark.slow
async def test_a_form_is_as_good_as_the_body(site: Site) -> None:
    data = material.saved(material.corners(), "png")
    body, kind = form(data)
    by_form, by_body = (await send(site, body, kind=kind)).json, (await send(site, data)).json
    assert by_form["digest"] == by_body["digest"]
    wrong, kind = form(data, "picture")
    assert (await send(site, wrong, kind=kind)).json["code"] == "bad_request"
    assert (await send(site, body[:100], kind=kind)).json["code"] == "bad_request"
    assert (await send(site, body, kind="multipart/form-data")).json["code"] == "bad_request"


async def test_a_picture_that_is_sent_twice_with_one_key_is_one(site: Site) -> None:
    data = material.saved(material.corners(), "png")
    key = {"Idempotency-Key": "k1"}

    async def send_form(content: bytes, boundary: str) -> Answer:
        body, kind = form(content)
        headers = {**key, "Content-Type": kind.replace("x1", boundary)}
        return await site.ask("POST", "/v1/images", body=body.replace(b"--x1", b"--" + boundary.encode()), user="alice", headers=headers)

    first, again = await send_form(data, "x1"), await send_form(data, "y2y2")
    assert (first.status, again.status, again["idempotency-replayed"]) == (201, 201, "true")
    assert (again.json, again["location"]) == (first.json, first["location"])
    other = await send_form(data + b"more", "x1")
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")
    raw = {**key, "Content-Type": "image/png"}
    mixed = await site.ask("POST", "/v1/images", body=data, user="alice", headers=raw)
    assert (mixed.status, mixed.json["code"]) == (422, "idempotency_mismatch")
    assert len((await site.ask("GET", "/v1/images", user="alice")).json["items"]) == 1
    raw["Idempotency-Key"] = "k2"
    assert (await site.ask("POST", "/v1/images", body=b"no picture", user="alice", headers=raw)).status == 415
    assert (await site.ask("POST", "/v1/images", body=data, user="alice", headers=raw)).status == 201, "what failed frees the key"


async def test_a_preset_says_what_is_made_at_once(site: Site) -> None:
    found = await made(site, query="?preset=avatar")
    assert {each["preset"] for each in found["variants"]} == {"avatar"}
    assert (await send(site, b"x", query="?preset=nothing")).json["code"] == "bad_options"


async def test_signed_urls_give_every_size_and_format(site: Site) -> None:
    image = (await made(site))["id"]
    for ext, kind in (("jpg", "image/jpeg"), ("jpeg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp"), ("avif", "image/avif")):
        answer = await site.ask("GET", await signed(site, image, "rs:cover:20:20/q:70/g:attention", ext))
        assert (answer.status, answer["content-type"]) == (200, kind)
        assert Image.open(io.BytesIO(answer.body)).size == (20, 20)
        assert answer["cache-control"] == "public, max-age=31536000, immutable"
        assert "vary" not in answer
        assert answer["access-control-allow-origin"] == "*"
    plain = await site.ask("GET", await signed(site, image))
    assert Image.open(io.BytesIO(plain.body)).size == (96, 64)


async def test_accept_decides_where_there_is_no_extension(site: Site) -> None:
    opaque, clear = (await made(site))["urls"]["thumb"], None
    clear = (await made(site, material.saved(Image.new("RGBA", (40, 40), (9, 9, 9, 90)), "png")))["urls"]["thumb"]
    for url, accept, kind in (
        (opaque, CHROMIUM, "image/avif"), (opaque, "image/webp,*/*", "image/webp"), (opaque, "*/*", "image/jpeg"),
        (opaque, "", "image/jpeg"),
        (opaque, "image/avif;q=0.5,image/webp;q=0.9", "image/webp"), (opaque, "image/avif;q=0", "image/jpeg"), (clear, "*/*", "image/png"),
        (clear, CHROMIUM, "image/avif"),
    ):  # fmt: skip
        answer = await site.ask("GET", local(url), headers={"Accept": accept} if accept else {})
        assert (answer.status, answer["content-type"], answer["vary"]) == (200, kind, "Accept"), accept


async def test_an_etag_is_strong_and_saves_the_bytes(site: Site) -> None:
    url = local((await made(site))["urls"]["small"])
    first = await site.ask("GET", url)
    assert first["etag"].startswith('"')
    again = await site.ask("GET", url, headers={"If-None-Match": first["etag"]})
    assert (again.status, again.body, again["etag"], again["vary"]) == (304, b"", first["etag"], "Accept")
    other = await site.ask("GET", url, headers={"If-None-Match": first["etag"], "Accept": CHROMIUM})
    assert other.status == 200 and other["etag"] != first["etag"]
    head = await site.ask("HEAD", url)
    assert (head.status, head["etag"]) == (200, first["etag"])


@pytest.mark.slow
async def test_hints_are_taken_in_buckets(site: Site) -> None:
    image = (await made(site, material.saved(material.corners(800, 600), "png")))["id"]
    url = await signed(site, image, "rs:inside:auto:0/dpr:auto", "png")
    seen = set()
    for width, ratio, wanted in (("90", "1", 160), ("120", "1.2", 240), ("", "", 800), ("161", "1", 320)):
        answer = await site.ask("GET", url, headers={"Sec-CH-Width": width, "DPR": ratio})
        assert Image.open(io.BytesIO(answer.body)).width == wanted
        assert answer["vary"] == "Sec-CH-DPR, Sec-CH-Width, DPR, Width"
        assert "accept-ch" in answer
        seen.add(answer["etag"])
    assert len(seen) == 4


async def test_what_is_not_signed_by_us_is_refused(site: Site) -> None:
    image = (await made(site))["id"]
    url = await signed(site, image, "rs:cover:20:20", "png")
    _, _, signature, rest = url.split("/", 3)
    key, _, mac = signature.partition(".")
    for forged in (
        url.replace("20:20", "21:20"), url.replace(".png", ".jpg"), url.replace(image, image[:-1] + ("1" if image[-1] == "0" else "0")),
        f"/img/{key}.{mac[:-2]}xx/{rest}",
        f"/img/nobody.{mac}/{rest}", f"/img/{mac}/{rest}", f"/img/{key}./{rest}", f"/img/-/{rest}", f"/img/-/preset:avatar/q:50/{image}",
        f"/img/-/preset:large/{image}", "/img/%00/x/y", "/img/-/preset:avatar/~aHR0cDovL3g.png",
    ):  # fmt: skip
        answer = await site.ask("GET", forged)
        assert (answer.status, answer.json["code"]) == (403, "bad_signature"), forged
    assert (await site.ask("GET", f"/img/-/preset:avatar/{image}")).status == 200, "an open preset needs none"
    assert (await site.ask("GET", f"/img/-/{'q:80/' * 2500}{image}")).json["code"] == "bad_options"


@pytest.mark.parametrize("site", [['images.keys=["new:hex:' + "11" * 32 + '","old:hex:' + "22" * 32 + '"]']], indirect=True)
async def test_keys_are_replaced_one_after_the_other(site: Site) -> None:
    from hashlib import sha256
    from hmac import digest

    image = (await made(site))["id"]
    assert (await signed(site, image, "q:50")).startswith("/img/new.")
    rest = f"/rs:inside:20:20/{image}.png"
    by_hand = urlsafe_b64encode(digest(bytes.fromhex("22" * 32), rest.encode(), sha256)).rstrip(b"=").decode()
    assert (await site.ask("GET", f"/img/old.{by_hand}{rest}")).status == 200
    assert (await site.ask("GET", f"/img/new.{by_hand}{rest}")).status == 403


async def test_urls_expire(site: Site) -> None:
    image = (await made(site))["id"]
    url = await signed(site, image, "rs:inside:20:20", expires_in=60)
    first = await site.ask("GET", url)
    assert (first.status, first["cache-control"]) == (200, "public, max-age=60")
    site.clock.advance(61)
    late = await site.ask("GET", url)
    assert (late.status, late.json["code"]) == (403, "url_expired")
    again = await site.ask("GET", await signed(site, image, "rs:inside:20:20", expires_in=9))
    assert again["etag"] == first["etag"], "the end is no part of the picture"


async def test_only_the_owner_signs_and_deletes(site: Site) -> None:
    found = await made(site)
    path = f"/v1/images/{found['id']}"
    for method, target, body in (("POST", f"{path}/url", {"options": "q:5"}), ("DELETE", path, None)):
        assert (await site.ask(method, target, body, user="bob")).status == 403
        assert (await site.ask(method, target, body)).status == 401
    assert (await site.ask("POST", f"{path}/url", {"options": "nonsense:1"}, user="alice")).json["code"] == "bad_options"
    url = local(found["urls"]["avatar"])
    assert (await site.ask("GET", url)).status == 200
    assert (await site.ask("DELETE", path, user="alice")).status == 204
    for gone in (path, url, f"/img/-/preset:avatar/{found['id']}"):
        assert (await site.ask("GET", gone)).status == 404
    assert await site.media.images._blobs.list("images/") == []


def attached(site: Site, capacity: int = 1 << 20) -> Keeper:
    """The memory that answers without Python."""
    keeper = Keeper(ObjectTable(), policy="s3fifo", capacity=capacity)
    site.media.images.delivery.attach(HotPictures(keeper, site.clock))
    return keeper


def is_hot(keeper: Keeper, url: str, **sent: str) -> bool:
    """As the I/O threads find it."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
    return keeper.find(PICTURES, url.encode(), fields)[1] is not None


async def test_what_was_asked_for_once_is_hot(site: Site) -> None:
    keeper = attached(site)
    image = (await made(site))["id"]
    whole, negotiated, ends, hinted = (
        await signed(site, image, "rs:inside:9:9", "png"), await signed(site, image, "rs:inside:9:9"),
        await signed(site, image, "q:9", "png", expires_in=9), await signed(site, image, "rs:inside:auto:0/dpr:auto", "png"),
    )  # fmt: skip
    for url in (whole, negotiated, ends, hinted):
        assert (await site.ask("GET", url)).status == 200
    assert [is_hot(keeper, url) for url in (whole, negotiated, ends, hinted)] == [True] * 4
    # What it varies with decides, and nothing else does.
    avif = await site.ask("GET", negotiated, headers={"Accept": CHROMIUM})
    assert avif["content-type"] == "image/avif"
    assert is_hot(keeper, negotiated, accept=CHROMIUM) and not is_hot(keeper, negotiated, accept="image/webp")
    assert is_hot(keeper, whole, accept="image/webp", dpr="3")
    assert is_hot(keeper, hinted, accept="image/webp") and not is_hot(keeper, hinted, dpr="2")
    for accept, kind in (("", "image/jpeg"), (CHROMIUM, "image/avif"), ("", "image/jpeg")):
        again = await site.ask("GET", negotiated, headers={"Accept": accept} if accept else {})
        assert (again["content-type"], again["vary"]) == (kind, "Accept")
    answer = keeper.find(PICTURES, ends.encode(), [])[1]
    assert answer is not None
    assert answer.fresh_until == int(site.clock.wall()) + 9
    await site.ask("DELETE", f"/v1/images/{image}", user="alice")
    assert not any(is_hot(keeper, url, accept=accept) for url in (whole, negotiated, ends, hinted) for accept in ("", CHROMIUM))


async def test_hot_results_make_room_and_have_one_spelling(site: Site) -> None:
    keeper = attached(site, capacity=60_000)
    image = (await made(site))["id"]
    thumb = local((await site.ask("GET", f"/v1/images/{image}")).json["urls"]["thumb"])
    for accept in range(20):
        await site.ask("GET", thumb, headers={"Accept": f"a/{accept}"})
    assert keeper.table.bytes <= keeper.capacity
    url = await signed(site, image, "rs:inside:9:9", "png")
    for spelling in (url.replace("rs:", "rs%3A"), url.replace("/rs:", "=/rs:")):
        await site.ask("GET", spelling)
        assert not is_hot(keeper, spelling)


async def test_a_purge_of_a_pictures_tag_drops_its_results(site: Site) -> None:
    keeper = attached(site)
    image = (await made(site))["id"]
    url = await signed(site, image, "rs:inside:9:9", "png")
    await site.ask("GET", url)
    assert keeper.purge_names(keeper.tagged(f"image:{image}".encode(), None), soft=False, now=0) == 1
    assert not is_hot(keeper, url)
    assert (await site.ask("GET", url)).status == 200 and is_hot(keeper, url)


async def test_picture_that_is_deleted_while_it_is_made_is_not_hot_afterwards(site: Site) -> None:
    keeper = attached(site)
    delivery = site.media.images.delivery
    image = (await made(site))["id"]
    url = await signed(site, image, "rs:inside:8:8", "png")
    obtain = delivery._obtain

    async def slow(*given: Any) -> bytes:
        data = await obtain(*given)
        await site.ask("DELETE", f"/v1/images/{image}", user="alice")
        return data

    delivery._obtain = slow  # type: ignore[method-assign]
    await site.ask("GET", url)
    assert not is_hot(keeper, url)
    assert (await site.ask("GET", url)).status == 404


async def test_one_computation_however_many_ask(site: Site) -> None:
    image = (await made(site, material.saved(material.photo(300, 200), "jpeg")))["id"]
    url = await signed(site, image, "rs:inside:200:200/bl:2", "webp")
    before = _jobs(site)
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await site.ask("GET", url))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert len({(answer.status, answer.body) for answer in answers}) == 1
    assert answers[0].status == 200
    assert _jobs(site) == before + 1
    await ask()
    assert _jobs(site) == before + 1, "it lies in the blob store"


def _jobs(site: Site) -> int:
    exposed = site.metrics.expose()[1].decode()
    found = re.search(r'nova_image_jobs_total\{outcome="ok"\} (\d+)', exposed)
    return int(found[1]) if found else 0


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 415, "unsupported_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image"),
        (material.png_of(30_000, 30_000, b"x"), 413, "image_too_large"),
        (material.saved(material.corners(), "jpeg")[:400], 422, "bad_image"),
        pytest.param(material.scan_bomb(110), 413, "image_too_large", marks=pytest.mark.slow),
        pytest.param(material.saved(material.corners(), "webp")[:60], 422, "bad_image", marks=pytest.mark.slow),
    ],
)
async def test_bad_pictures_are_refused_and_leave_nothing(site: Site, data: bytes, status: int, code: str) -> None:
    answer = await send(site, data)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert await site.media.images._blobs.list("images/") == []
    assert (await site.ask("GET", "/v1/images", user="alice")).json["items"] == []


@pytest.mark.slow
@pytest.mark.parametrize("site", [["images.max_file=64KiB", "images.per_user=1"]], indirect=True)
async def test_size_and_number_have_bounds(site: Site) -> None:
    answer = await send(site, material.saved(material.photo(300, 300), "png"))
    assert (answer.status, answer.json["code"]) == (413, "too_large")
    await made(site)
    full = await send(site, material.saved(material.corners(), "png"))
    assert (full.status, full.json["code"]) == (429, "quota_exceeded")


async def test_a_page_may_show_more_pictures_than_an_app_may_make_calls(site: Site) -> None:
    """The rate of this site is 5 a second."""
    url = local((await made(site))["urls"]["thumb"])
    assert {(await site.ask("GET", url, peer=STRANGER)).status for _ in range(12)} == {200}


async def test_writing_needs_the_scope(site: Site) -> None:
    chat = await site.token("carol", "chat")
    assert (await site.ask("POST", "/v1/images", body=b"x", token=chat)).json["code"] == "missing_scope"
    assert (await site.ask("POST", "/v1/images", body=b"x")).status == 401


@pytest.mark.slow
async def test_a_watermark_is_another_picture_of_ours(site: Site) -> None:
    base, mark = (await made(site))["id"], (await made(site, material.saved(Image.new("RGB", (9, 9), (255, 255, 255)), "png")))["id"]
    answer = await site.ask("GET", await signed(site, base, f"wm:{mark}:100:northwest:30", "png"))
    pixel: Any = Image.open(io.BytesIO(answer.body)).convert("RGB").getpixel((2, 2))
    assert min(pixel) > 240
    none = await site.ask("GET", await signed(site, base, "wm:018f0000-0000-7000-8000-000000000000", "png"))
    assert (none.status, none.json["code"]) == (400, "bad_options")


@pytest.mark.slow
async def test_an_animation_moves_for_those_who_can_see_it(site: Site) -> None:
    found = await made(site, material.animation("gif"))
    assert found["frames"] == 5
    for accept, kind in ((CHROMIUM, "image/webp"), ("*/*", "image/gif")):
        answer = await site.ask("GET", local(found["urls"]["small"]), headers={"Accept": accept})
        assert answer["content-type"] == kind
        assert getattr(Image.open(io.BytesIO(answer.body)), "n_frames", 1) == 5


async def test_events_tell_of_pictures(site: Site) -> None:
    from nova.core.bus import START

    found = await made(site)
    await site.ask("DELETE", f"/v1/images/{found['id']}", user="alice")
    page = await site.media.events._bus.read("nova.media.events", START, limit=10)
    import json

    events = [json.loads(entry.data) for entry in page.entries]
    assert [(each["type"], each["subject"], each["specversion"]) for each in events] == [
        ("ImageCreated", found["id"], "1.0"), ("ImageDeleted", found["id"], "1.0"),
    ]  # fmt: skip


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(site: Site) -> None:
    data = material.saved(material.photo(200, 200), "png")
    sent = iter([{"type": "http.request", "body": data[:1000], "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(sent)

    answers: list[Any] = []

    async def answer(message: Any) -> None:
        answers.append(message)

    token = await site.token("alice")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/images", "raw_path": b"/v1/images", "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("h", 1), "extensions": {},
        "headers": [(b"host", b"h"), (b"content-length", str(len(data)).encode()), (b"authorization", f"Bearer {token}".encode())],
    }  # fmt: skip
    await site.app(scope, receive, answer)
    assert answers[0]["status"] == 400
    assert await site.media.images._blobs.list("images/") == []


@pytest.mark.slow
async def test_pictures_from_elsewhere_need_a_signature_and_a_prefix(site: Site, elsewhere: str) -> None:
    delivery = site.media.images.delivery
    source = "~" + urlsafe_b64encode(f"{elsewhere}a.png".encode()).rstrip(b"=").decode()

    def signed_by_us(text: str) -> str:
        return f"/img/{delivery.keys.sign(text)}{text}"

    url = signed_by_us(f"/rs:inside:20:20/{source}.webp")
    assert (await site.ask("GET", url)).json["code"] == "source_forbidden", "nothing is allowed by default"
    delivery.rules.sources = [elsewhere]
    delivery._fetch = CheckedFetch([elsewhere])
    first, again = await site.ask("GET", url), await site.ask("GET", url)
    assert (first.status, first["content-type"], first["cache-control"]) == (200, "image/webp", "public, max-age=86400")
    assert (again.body, again["etag"]) == (first.body, first["etag"])
    other = "~" + urlsafe_b64encode(b"http://169.254.169.254/latest/meta-data").rstrip(b"=").decode()
    for text, code in ((f"/q:5/{other}", "source_forbidden"), ("/q:5/~!", "not_found")):
        assert (await site.ask("GET", signed_by_us(text))).json["code"] == code
    missing = "~" + urlsafe_b64encode(f"{elsewhere}b.png".encode()).rstrip(b"=").decode()
    assert (await site.ask("GET", signed_by_us(f"/q:5/{missing}"))).status == 404
