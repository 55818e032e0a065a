"""`/v1/uploads` by tus 1.0.0, and what becomes of uploads: pictures, videos, reels."""

from base64 import b64encode
from hashlib import sha1, sha256
from typing import Any

import pytest
import trio

from tests.media.images import material
from tests.surface.http.asgi import Answer
from tests.surface.http.conftest import Site

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}
MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(3000)


def metadata(**pairs: str) -> dict[str, str]:
    return {"Upload-Metadata": ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in pairs.items())}


async def create(site: Site, size: int, user: str = "alice", **pairs: str) -> str:
    """The path of a new upload."""
    answer = await site.ask("POST", "/v1/uploads", user=user, headers={**TUS, "Upload-Length": str(size), **metadata(**pairs)})
    assert answer.status == 201, answer.body
    return answer["location"].removeprefix("http://nova.test:8080")


async def patch(site: Site, path: str, offset: int, data: bytes, user: str = "alice", **headers: str) -> Answer:
    return await site.ask("PATCH", path, body=data, user=user, headers={**BYTES, "Upload-Offset": str(offset), **headers})


async def ended(site: Site, path: str) -> dict[str, Any]:
    with trio.fail_after(10):
        while (answer := await site.ask("GET", path, user="alice")).json["status"] in ("uploading", "processing"):
            await trio.sleep(0.01)
    found: dict[str, Any] = answer.json
    return found


async def test_what_the_server_can_is_told_without_a_token(site: Site) -> None:
    answer = await site.ask("OPTIONS", "/v1/uploads")
    assert answer.status == 204
    assert answer["tus-version"] == answer["tus-resumable"] == "1.0.0"
    assert set(answer["tus-extension"].split(",")) == {"creation", "creation-with-upload", "checksum", "expiration", "termination"}
    assert answer["tus-max-size"] == str(4 << 30)
    assert answer["tus-checksum-algorithm"] == "sha1,sha256"


async def test_a_picture_in_two_pieces(site: Site) -> None:
    data = material.saved(material.photo(90, 60), "png")
    path = await create(site, len(data), filename="a.png", kind="image", preset="avatar", sha256=sha256(data).hexdigest())
    first = await patch(site, path, 0, data[:5000])
    assert (first.status, first["upload-offset"], first["tus-resumable"]) == (204, "5000", "1.0.0")
    assert first["upload-expires"].endswith("GMT")
    head = await site.ask("HEAD", path, user="alice", headers=TUS)
    assert (head.status, head["upload-offset"], head["upload-length"], head["cache-control"]) == (200, "5000", str(len(data)), "no-store")
    assert "filename YS5wbmc=" in head["upload-metadata"]
    assert (await site.ask("GET", path, user="alice")).json["status"] == "uploading"
    assert (await patch(site, path, 5000, data[5000:]))["upload-offset"] == str(len(data))
    found = await ended(site, path)
    assert (found["status"], found["offset"], found["size"], found["result"]["kind"]) == ("ready", len(data), len(data), "image")
    image = (await site.ask("GET", f"/v1/images/{found['result']['id']}")).json
    assert (image["width"], image["digest"]) == (90, sha256(data).hexdigest())


async def test_creation_brings_the_first_bytes(site: Site) -> None:
    data = material.saved(material.corners(), "png")
    headers = {**BYTES, "Upload-Length": str(len(data))}
    answer = await site.ask("POST", "/v1/uploads", body=data, user="alice", headers=headers)
    assert (answer.status, answer["upload-offset"]) == (201, str(len(data)))
    assert (await ended(site, answer["location"].removeprefix("http://nova.test:8080")))["status"] == "ready"


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_what_was_made_before_a_crash_is_not_made_again(site: Site, kind: str) -> None:
    """The process died between the making and its note: the next one finds the upload as it was."""
    data = material.saved(material.corners(), "png") if kind == "image" else MP4
    service = site.media.uploads
    settle, lost = service._store.settle, []

    async def dies(upload: Any, status: Any, **more: Any) -> None:
        if not lost:
            lost.append(upload)
            await trio.sleep_forever()
        await settle(upload, status, **more)

    service._store.settle = dies  # type: ignore[method-assign]
    path = await create(site, len(data), kind=kind)
    await patch(site, path, 0, data)
    with trio.fail_after(10):
        while not lost:
            await trio.sleep(0.01)
    await service._recover()
    found = await ended(site, path)
    assert (found["status"], found["result"]["kind"]) == ("ready", kind)
    listed = (await site.ask("GET", f"/v1/{kind}s", user="alice")).json["items"]
    assert [each["id"] for each in listed] == [found["result"]["id"]]


async def test_a_creation_that_is_sent_twice_with_one_key_is_one(site: Site) -> None:
    headers = {**TUS, "Upload-Length": "10", "Idempotency-Key": "k1"}
    first = await site.ask("POST", "/v1/uploads", user="alice", headers=headers)
    again = await site.ask("POST", "/v1/uploads", user="alice", headers=headers)
    assert (again.status, again["location"], again["idempotency-replayed"]) == (201, first["location"], "true")
    other = await site.ask("POST", "/v1/uploads", user="alice", headers={**headers, "Upload-Length": "11"})
    assert (other.status, other.json["code"]) == (422, "idempotency_mismatch")


async def test_a_picture_by_a_signed_address(site: Site) -> None:
    data = material.saved(material.photo(90, 60), "png")
    wanted = {"size": len(data), "filename": "a.png", "kind": "image", "preset": "avatar", "sha256": sha256(data).hexdigest()}
    assert (await site.ask("POST", "/v1/direct-uploads", wanted)).status == 401
    answer = await site.ask("POST", "/v1/direct-uploads", wanted, user="alice", headers={"Idempotency-Key": "k1"})
    assert answer.status == 201, answer.body
    found = answer.json
    assert answer["location"] == f"/v1/uploads/{found['id']}"
    (part,) = found["parts"]
    assert (part["number"], part["first"], part["size"], found["status"]) == (1, 0, len(data), "uploading")
    url, done = (each.removeprefix("http://nova.test:8080") for each in (part["url"], found["complete_url"]))
    early = await site.ask("POST", done, user="alice")
    assert (early.status, early.json["code"]) == (422, "unprocessable")
    forged = await site.ask("PUT", url + "x", body=data)
    assert (forged.status, forged.json["code"]) == (403, "bad_signature")
    short = await site.ask("PUT", url, body=data[:-1])
    assert (short.status, short.json["code"]) == (422, "unprocessable")
    assert (await site.ask("PUT", url, body=data)).status == 204, "without any credential"
    assert (await site.ask("POST", done, user="bob")).status == 404
    assert (await site.ask("POST", done, user="alice")).json["status"] in ("processing", "ready")
    state = await ended(site, answer["location"])
    assert (state["status"], state["result"]["kind"]) == ("ready", "image")
    for wrong, code in (
        ({"size": 0}, "bad_request"),
        ({"size": 5, "preset": "x"}, "bad_options"),
        ({"size": 5, "sha256": "x"}, "bad_request"),
    ):
        assert (await site.ask("POST", "/v1/direct-uploads", wrong, user="alice")).json["code"] == code


async def test_offsets_and_checksums_are_held(site: Site) -> None:
    path = await create(site, 100)
    wrong = await patch(site, path, 7, b"abc")
    assert (wrong.status, wrong.json["code"], wrong["tus-resumable"]) == (409, "upload_offset", "1.0.0")
    bad = await patch(site, path, 0, b"abc", **{"Upload-Checksum": "sha1 " + b64encode(bytes(20)).decode()})
    assert (bad.status, bad.json["code"]) == (460, "checksum_mismatch")
    good = await patch(site, path, 0, b"abc", **{"Upload-Checksum": "sha1 " + b64encode(sha1(b"abc").digest()).decode()})
    assert (good.status, good["upload-offset"]) == (204, "3")
    assert (await patch(site, path, 3, bytes(200))).status == 413
    unknown = await patch(site, path, 3, b"x", **{"Upload-Checksum": "crc32 AAAA"})
    assert unknown.json["code"] == "bad_request"


async def test_what_is_not_tus_is_refused(site: Site) -> None:
    path = await create(site, 100)
    for method, target, headers in (
        ("POST", "/v1/uploads", {"Upload-Length": "5"}),
        ("PATCH", path, {"Upload-Offset": "0", "Content-Type": BYTES["Content-Type"]}),
    ):
        answer = await site.ask(method, target, user="alice", headers=headers)
        assert (answer.status, answer.json["code"]) == (412, "precondition_failed")
    typed = await site.ask("PATCH", path, body=b"x", user="alice", headers={**TUS, "Upload-Offset": "0", "Content-Type": "text/plain"})
    assert typed.status == 415
    for headers in ({}, {"Upload-Length": "x"}, {"Upload-Length": "-5"}, {"Upload-Length": "5", "Upload-Metadata": "a !"}):
        assert (await site.ask("POST", "/v1/uploads", user="alice", headers={**TUS, **headers})).status == 400
    large = await site.ask("POST", "/v1/uploads", user="alice", headers={**TUS, "Upload-Length": str(5 << 30)})
    assert (large.status, large.json["code"]) == (413, "too_large")
    assert (
        await site.ask("POST", "/v1/uploads", user="alice", headers={**TUS, "Upload-Length": "5", **metadata(preset="x")})
    ).status == 400


async def test_uploads_are_their_owners(site: Site) -> None:
    path = await create(site, 100)
    assert (await site.ask("POST", "/v1/uploads", headers={**TUS, "Upload-Length": "5"})).status == 401
    for answer in (
        await site.ask("GET", path, user="bob"), await patch(site, path, 0, b"x", user="bob"), await site.ask("DELETE", path, user="bob"),
        await site.ask("GET", "/v1/uploads/x", user="alice"),
    ):  # fmt: skip
        assert answer.status == 404
    assert (await site.ask("DELETE", path, user="alice", headers=TUS)).status == 204
    assert (await site.ask("HEAD", path, user="alice", headers=TUS)).status == 404


async def test_clients_without_patch_may_post(site: Site) -> None:
    path = await create(site, 100)
    headers = {**BYTES, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert (await site.ask("POST", path, body=b"abc", user="alice", headers=headers))["upload-offset"] == "3"
    assert (await site.ask("POST", path, user="alice", headers=TUS)).status == 405
    assert (await site.ask("POST", path, user="alice", headers={**TUS, "X-HTTP-Method-Override": "DELETE"})).status == 204


async def test_an_upload_expires(site: Site) -> None:
    path = await create(site, 100)
    site.clock.advance(86_401)
    assert (await site.ask("HEAD", path, token=await site.token("alice"), headers=TUS)).status == 404


async def test_a_file_that_is_nothing_fails_with_its_code(site: Site) -> None:
    for data, kind, code in ((b"#!/bin/sh" + bytes(50), "", "unsupported_type"), (MP4, "image", "unsupported_type"),
                             (material.saved(material.corners(), "png")[:200], "", "bad_image")):  # fmt: skip
        path = await create(site, len(data), **({"kind": kind} if kind else {}))
        await patch(site, path, 0, data)
        found = await ended(site, path)
        assert (found["status"], found["error"]["code"], found["result"]) == ("failed", code, None)


async def test_videos_and_reels_become_records(site: Site) -> None:
    for kind, where, title in (("video", "videos", "Film"), ("reel", "reels", "Reel")):
        path = await create(site, len(MP4), kind=kind, title=title)
        await patch(site, path, 0, MP4)
        result = (await ended(site, path))["result"]
        assert result["kind"] == kind
        video = (await site.ask("GET", f"/v1/{where}/{result['id']}")).json
        assert (video["title"], video["status"], video["format"], video["size_bytes"]) == (title, "uploaded", "mp4", len(MP4))
        assert video["digest"] == sha256(MP4).hexdigest()
        assert [each["id"] for each in (await site.ask("GET", f"/v1/{where}")).json["items"]] == [result["id"]]
        later = await site.ask("POST", f"/v1/videos/{result['id']}/transcode", user="alice")
        assert (later.status, later.json["code"]) == (501, "not_yet")
        assert (await site.ask("DELETE", f"/v1/{where}/{result['id']}", user="bob")).status == 403
        assert (await site.ask("DELETE", f"/v1/{where}/{result['id']}", user="alice")).status == 204
        assert (await site.ask("GET", f"/v1/{where}/{result['id']}")).status == 404


async def test_records_are_made_and_changed_by_hand(site: Site) -> None:
    made = await site.ask("POST", "/v1/reels", {"title": "R", "visibility": "private"}, user="alice")
    assert (made.status, made.json["status"], made.json["kind"]) == (201, "pending", "reel")
    path = made["location"]
    assert (await site.ask("GET", path, user="bob")).status == 404
    changed = await site.ask("PATCH", f"/v1/videos/{made.json['id']}", {"title": "S", "visibility": None}, user="alice")
    assert (changed.json["title"], changed.json["visibility"]) == ("S", "public")
    assert (await site.ask("PATCH", f"/v1/videos/{made.json['id']}", {"title": None}, user="alice")).status == 400
    assert (await site.ask("GET", path, user="bob")).status == 200


async def test_users_hear_of_their_uploads(site: Site) -> None:
    said: list[tuple[str, bytes, str]] = []

    async def say(channel: str, data: bytes, *, conflate_key: str) -> None:
        said.append((channel, data, conflate_key))

    site.media.announcer.attach(say)
    path = await create(site, 100)
    await patch(site, path, 0, b"abc")
    with trio.fail_after(30):
        while len(said) < 2:
            await trio.sleep(0.005)
    assert {(channel, key) for channel, _, key in said} == {("user:alice", path.rpartition("/")[2])}
    assert b'"offset": 3' in said[-1][1]


@pytest.mark.parametrize("site", [["uploads.per_user=1"]], indirect=True)
async def test_unfinished_uploads_have_a_quota(site: Site) -> None:
    await create(site, 100)
    answer = await site.ask("POST", "/v1/uploads", user="alice", headers={**TUS, "Upload-Length": "5"})
    assert (answer.status, answer.json["code"]) == (429, "quota_exceeded")
