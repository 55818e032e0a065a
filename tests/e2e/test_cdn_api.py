"""The CDN's API over HTTP and gRPC: assets, signed addresses, invalidation, prewarming and numbers, on a server with an origin."""

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from nova.surface.grpc.generated import cdn_v1_pb2 as pb
from tests.cdn.origins.running import Process, processes
from tests.serving import Served, serve


class Cdn:
    """A served site, a user who may change everything, and one who may not."""

    def __init__(self, served: Served, origin: Process) -> None:
        self.served, self.origin = served, origin
        self.admin, self.reader = self._token("ada", "cdn:admin"), self._token("bob", "chat")

    def _token(self, user: str, scope: str) -> str:
        command = [sys.executable, "-m", "nova", "token", "--user", user, "--scope", scope, "--data", str(self.served.data)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", listener: str = "http", **fields: str
    ) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection(*self.served.address(listener), timeout=20)
        sent = {name.replace("_", "-"): value for name, value in fields.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            sent["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            data = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(data) if "json" in found.get("content-type", "") else data, found
        finally:
            connection.close()

    def write(self, method: str, path: str, body: Any = None) -> Any:
        status, said, _ = self.ask(method, path, body, token=self.admin)
        assert status < 300, said
        return said

    def look(self, path: str, *, token: str = "") -> Any:
        status, said, _ = self.ask("GET", path, token=token or self.admin)
        assert status == 200, said
        return said

    def settled(self, job: dict[str, Any]) -> dict[str, Any]:
        return until(lambda: self.look(f"/v1/cdn/invalidations/{job['id']}"), lambda found: found["status"] != "pending")

    def asked(self, target: str) -> int:
        """How often the origin was asked for `target`."""
        from urllib.parse import quote

        connection = http.client.HTTPConnection("127.0.0.1", self.origin.port, timeout=20)
        try:
            connection.request("GET", f"/seen?target={quote(target, safe='')}")
            return int(connection.getresponse().read())
        finally:
            connection.close()


def until(look: Callable[[], Any], check: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 20
    while not check(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def cdn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cdn]:
    folder: Path = tmp_path_factory.mktemp("cdn")
    with processes("one") as (origin,):
        sites = [
            {
                "name": "films",
                "listen": "127.0.0.1:0",
                "prefix": "/cdn/s/films/",
                "origins": [{"url": origin.url}],
                "heuristic": 0.0,
                "host": "origin",
            },
            {
                "name": "closed",
                "listen": "127.0.0.1:0",
                "origins": [{"url": origin.url}],
                "signing": "token",
                "signing_keys": [{"id": "k1", "secret": "0123456789abcdef"}],
            },
            {"name": "shop", "listen": "127.0.0.1:0", "prefix": "/cdn/s/shop/", "origins": [{"url": origin.url}]},
        ]
        with serve(folder / "data", "--set", f"cdn.sites={json.dumps(sites)}", "--set", "cdn.edge=here") as served:
            yield Cdn(served, origin)


def test_an_asset_is_registered_served_changed_and_gone(cdn: Cdn) -> None:
    draft = {"path": "a/film.bin", "site": "films", "origin_path": "/size/1000?asset", "ttl": 60, "tags": ["films"]}
    made = cdn.write("POST", "/v1/cdn/assets", draft)
    assert (made["version"], made["owner"], made["private"]) == (1, "ada", False)
    assert made["url"].endswith("/cdn/a/film.bin?v=1")
    for _ in range(3):
        status, body, fields = cdn.ask("GET", "/cdn/a/film.bin?v=1&nothing=of%20this")
        assert (status, len(body)) == (200, 1000)
        assert fields["content-security-policy"] == "sandbox"
        assert "surrogate-key" not in fields
    assert cdn.asked("/size/1000?asset") == 1  # ttl makes it fresh, though the origin says nothing
    changed = cdn.write("PATCH", f"/v1/cdn/assets/{made['id']}", {"origin_path": "/size/500", "tags": None})
    assert (changed["version"], changed["origin_path"], changed["tags"]) == (2, "/size/500", [])
    assert len(cdn.ask("GET", "/cdn/a/film.bin")[1]) == 500
    assert cdn.ask("GET", "/cdn/a/film.bin?v=1")[0] == 404
    assert cdn.look(f"/v1/cdn/assets/{made['id']}") == changed
    assert [each["id"] for each in cdn.look("/v1/cdn/assets?site=films&limit=1")["items"]] == [made["id"]]
    assert cdn.ask("POST", "/v1/cdn/assets", draft, token=cdn.admin)[0] == 409
    cdn.write("DELETE", f"/v1/cdn/assets/{made['id']}")
    assert cdn.ask("GET", "/cdn/a/film.bin")[0] == 404
    assert cdn.ask("GET", f"/v1/cdn/assets/{made['id']}", token=cdn.reader)[0] == 404


def test_an_asset_that_is_not_what_its_digest_says_is_not_served_whole(cdn: Cdn) -> None:
    from hashlib import sha256

    from tests.cdn.origins.server import body_of

    right = f"sha-256:{sha256(body_of(777)).hexdigest()}"
    for path, digest in (("d/right", right), ("d/wrong", "sha-256:" + "0" * 64)):
        cdn.write(
            "POST", "/v1/cdn/assets", {"path": path, "site": "films", "origin_path": f"/size/777?{path}", "ttl": 60, "digest": digest}
        )
    assert cdn.ask("GET", "/cdn/d/right")[1] == body_of(777)
    for _ in range(2):
        status, said, _ = cdn.ask("GET", "/cdn/d/wrong")
        assert (status, said["code"]) == (502, "origin_broken")
    assert cdn.asked("/size/777?d/wrong") >= 1


def test_an_origin_that_answers_1xx_for_ever_is_502(cdn: Cdn) -> None:
    with socket.create_connection(cdn.served.address("site:films"), timeout=20) as client:
        client.sendall(b"GET /interim HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        got = b"".join(iter(lambda: client.recv(65536), b""))
    assert got.count(b"HTTP/1.1 103 ") == 32  # as many as are believed, of two attempts
    assert b"HTTP/1.1 502 " in got
    assert b"origin_broken" in got


def test_private_assets_and_closed_sites_need_a_signed_address(cdn: Cdn) -> None:
    made = cdn.write("POST", "/v1/cdn/assets", {"path": "p/secret.bin", "site": "films", "origin_path": "/size/10", "private": True})
    status, said, _ = cdn.ask("GET", "/cdn/p/secret.bin")
    assert (status, said["code"]) == (403, "bad_signature")
    signed = cdn.write("POST", "/v1/cdn/urls", {"asset": made["id"], "expires_in": 60})
    assert signed["url"].startswith("http")
    path = signed["url"].partition("/cdn/")[2]
    assert cdn.ask("GET", f"/cdn/{path}")[0] == 200
    assert cdn.ask("GET", f"/cdn/{path}x")[0] == 403
    folder = cdn.write("POST", "/v1/cdn/urls", {"asset": made["id"], "folder": True})["url"]
    assert cdn.ask("GET", "/cdn/" + folder.partition("/cdn/")[2])[0] == 200
    bound = cdn.write("POST", "/v1/cdn/urls", {"asset": made["id"], "address": "203.0.113.1"})["url"]
    assert cdn.ask("GET", "/cdn/" + bound.partition("/cdn/")[2])[0] == 403
    assert cdn.ask("GET", "/size/5", listener="site:closed")[0] == 403
    site = cdn.write("POST", "/v1/cdn/urls", {"site": "closed", "path": "/size/5", "edge": "here"})["url"]
    host, _, target = site.removeprefix("http://").partition("/")
    assert host.endswith(str(cdn.served.address("site:closed")[1]))
    assert len(cdn.ask("GET", f"/{target}", listener="site:closed")[1]) == 5
    assert cdn.ask("POST", "/v1/cdn/urls", {"site": "closed", "path": "/x", "kind": "cloudfront"}, token=cdn.admin)[0] == 422
    assert cdn.ask("POST", "/v1/cdn/urls", {"site": "closed"}, token=cdn.admin)[0] == 400


@pytest.mark.parametrize("what", ["url", "path", "pattern", "tag"])
def test_what_is_invalidated_is_fetched_anew(cdn: Cdn, what: str) -> None:
    target = f"/size/100?{what}"
    made = cdn.write(
        "POST", "/v1/cdn/assets", {"path": f"i/{what}", "site": "films", "origin_path": target, "ttl": 600, "tags": [f"t-{what}"]}
    )
    for _ in range(2):
        assert cdn.ask("GET", target, listener="site:films")[0] == 200
    assert cdn.asked(target) == 1
    port = cdn.served.address("site:films")[1]
    body = {
        "url": {"urls": [f"http://127.0.0.1:{port}{target}"]},
        "path": {"urls": [target], "site": "films"},
        "pattern": {"pattern": "/size/*", "site": "films"},
        "tag": {"tags": [f"t-{what}"]},
    }[what]
    status, job, fields = cdn.ask("POST", "/v1/cdn/invalidations", body, token=cdn.admin)
    assert (status, fields["location"]) == (202, f"/v1/cdn/invalidations/{job['id']}")
    done = cdn.settled(job)
    assert (done["status"], [(edge["edge"], edge["status"]) for edge in done["edges"]]) == ("done", [("here", "acked")])
    assert done["edges"][0]["objects"] >= 1
    assert cdn.ask("GET", target, listener="site:films")[0] == 200
    assert cdn.asked(target) == 2
    cdn.write("DELETE", f"/v1/cdn/assets/{made['id']}")


def test_prewarmed_objects_are_there_before_anybody_asks(cdn: Cdn) -> None:
    cdn.write("POST", "/v1/cdn/assets", {"path": "w/one", "site": "films", "origin_path": "/size/200?warm", "ttl": 600})
    done = cdn.settled(cdn.write("POST", "/v1/cdn/prewarm", {"urls": ["/size/200?warm"], "site": "films"}))
    assert (done["kind"], done["status"], done["edges"][0]["objects"]) == ("prewarm", "done", 1)
    assert cdn.asked("/size/200?warm") == 1
    assert cdn.ask("GET", "/cdn/w/one")[0] == 200
    assert cdn.asked("/size/200?warm") == 1
    assert cdn.ask("POST", "/v1/cdn/prewarm", {"urls": ["http://elsewhere.example/"]}, token=cdn.admin)[0] == 400


def test_what_is_warmed_is_there_under_the_name_that_was_asked_for(cdn: Cdn) -> None:
    main = f"127.0.0.1:{cdn.served.address('http')[1]}"
    for name in ("path", "named", "prefixed", "asset"):  # the origin itself says nothing of a lifetime
        cdn.write("POST", "/v1/cdn/assets", {"path": f"warm/{name}", "site": "shop", "origin_path": f"/size/10?{name}", "ttl": 600})
    for urls, listener, target, fields in (
        (["/size/10?path"], "site:shop", "/size/10?path", {}),
        (["http://shop.example/size/10?named"], "site:shop", "/size/10?named", {"Host": "shop.example"}),
        ([f"http://{main}/cdn/s/shop/size/10?prefixed"], "http", "/cdn/s/shop/size/10?prefixed", {}),
        ([f"http://{main}/cdn/warm/asset"], "http", "/cdn/warm/asset", {}),
    ):
        done = cdn.settled(cdn.write("POST", "/v1/cdn/prewarm", {"urls": urls, "site": "shop"}))
        assert (done["status"], done["edges"][0]["objects"]) == ("done", 1)
        status, _, headers = cdn.ask("GET", target, listener=listener, **fields)
        assert (status, headers["cache-status"][:9], target) == (200, "nova; hit", target)


def test_usage_comes_in_pages_and_its_sums_are_of_all_of_them(cdn: Cdn) -> None:
    ids = []
    for number in range(3):
        path = f"p/{number}"
        draft = {"path": path, "site": "films", "origin_path": f"/size/{number + 1}?paged", "ttl": 600}
        ids.append(cdn.write("POST", "/v1/cdn/assets", draft)["id"])
        assert cdn.ask("GET", f"/cdn/{path}")[0] == 200
    whole = until(lambda: cdn.look("/v1/cdn/usage?owner=ada"), lambda found: {*ids} <= {item["asset"] for item in found["items"]})
    found, cursor = [], ""
    while cursor is not None:
        part = cdn.look(f"/v1/cdn/usage?owner=ada&limit=1{cursor and '&cursor=' + cursor}")
        assert part["total"] == whole["total"]
        found += part["items"]
        cursor = part["cursor"]
    assert found == whole["items"]
    assert cdn.ask("GET", "/v1/cdn/usage?cursor=eA", token=cdn.reader)[1]["code"] == "bad_cursor"


def test_usage_counts_what_was_sent(cdn: Cdn) -> None:
    made = cdn.write("POST", "/v1/cdn/assets", {"path": "u/one", "site": "films", "origin_path": "/size/1234?used", "ttl": 600})
    for _ in range(5):
        assert cdn.ask("GET", "/cdn/u/one")[0] == 200
    found = until(lambda: cdn.look(f"/v1/cdn/usage?asset={made['id']}"), lambda found: found["total"]["requests"] == 5)
    assert found["total"] == {"requests": 5, "hits": 4, "bytes": 5 * 1234}
    assert (found["items"][0]["site"], found["items"][0]["owner"]) == ("films", "ada")


def test_edges_deployments_and_metrics_tell_how_it_is(cdn: Cdn) -> None:
    (edge,) = cdn.look("/v1/cdn/edges")["items"]
    assert (edge["edge"], edge["region"], edge["healthy"]) == ("here", "local", True)
    (deployment,) = cdn.look("/v1/cdn/deployments")["items"]
    assert (deployment["current"], deployment["version"]) == (True, edge["version"])
    assert [site["site"] for site in deployment["sites"]] == ["closed", "films", "shop"]
    cdn.ask("GET", "/size/1", listener="site:films")
    cdn.settled(cdn.write("POST", "/v1/cdn/prewarm", {"urls": ["/size/1"], "site": "films"}))
    metrics = cdn.look("/v1/cdn/metrics")
    films = next(site for site in metrics["sites"] if site["site"] == "films")
    assert films["origins"][0]["url"] == cdn.origin.url
    assert (films["origins"][0]["breaker"], films["down"]) == ("closed", False)
    assert metrics["jobs"]
    assert b"nova_cdn_total" in cdn.ask("GET", "/metrics")[1]


def test_writes_need_their_scope_and_reads_a_user(cdn: Cdn) -> None:
    for method, path in (("POST", "assets"), ("POST", "urls"), ("POST", "invalidations"), ("POST", "prewarm")):
        assert cdn.ask(method, f"/v1/cdn/{path}", {}, token=cdn.reader)[0] == 403
        assert cdn.ask(method, f"/v1/cdn/{path}", {})[0] == 401
    for path in ("assets", "usage", "edges", "deployments", "metrics"):
        assert cdn.ask("GET", f"/v1/cdn/{path}")[0] == 401


def test_where_origins_are_and_what_others_use_is_for_operators(cdn: Cdn) -> None:
    cdn.write("POST", "/v1/cdn/prewarm", {"site": "films", "urls": ["/size/2"]})
    made = cdn.write("POST", "/v1/cdn/assets", {"path": "o/one", "site": "films", "origin_path": "/size/3?others", "ttl": 600})
    assert cdn.ask("GET", "/cdn/o/one")[0] == 200
    until(lambda: cdn.look(f"/v1/cdn/usage?asset={made['id']}"), lambda found: bool(found["items"]))
    shown = cdn.look("/v1/cdn/metrics", token=cdn.reader)
    assert [site["site"] for site in shown["sites"]] == ["closed", "films", "shop"]
    assert cdn.origin.url not in json.dumps(shown) and shown["jobs"] == []
    assert "hit_ratio" in shown["total"]
    assert cdn.look("/v1/cdn/usage", token=cdn.reader)["items"] == cdn.look("/v1/cdn/usage?owner=bob", token=cdn.reader)["items"] == []
    assert cdn.ask("GET", "/v1/cdn/usage?owner=ada", token=cdn.reader)[0] == 403
    operator = cdn._token("eve", "metrics:read")
    assert cdn.origin.url in json.dumps(cdn.look("/v1/cdn/metrics", token=operator))
    host, port = cdn.served.address("grpc")
    with grpc.insecure_channel(f"{host}:{port}") as channel:

        def call(name: str, request: Any, answer: Any) -> Any:
            method = channel.unary_unary(f"/nova.cdn.v1.CdnService/{name}", type(request).SerializeToString, answer.FromString)
            return method(request, metadata=[("authorization", f"Bearer {cdn.reader}")], timeout=10)

        found = call("GetCdnMetrics", pb.GetCdnMetricsRequest(), pb.GetCdnMetricsResponse)
        assert not found.jobs and not any(site.origins for site in found.sites)
        assert not call("GetCdnUsageStats", pb.GetCdnUsageStatsRequest(), pb.GetCdnUsageStatsResponse).items
        with pytest.raises(grpc.RpcError) as caught:
            call("GetCdnUsageStats", pb.GetCdnUsageStatsRequest(owner="ada"), pb.GetCdnUsageStatsResponse)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_bad_input_is_named(cdn: Cdn) -> None:
    for path, body, pointer in (
        ("assets", {"path": "../x", "site": "films"}, "/path"),
        ("assets", {"path": "s/x", "site": "films"}, "/path"),
        ("assets", {"path": "x"}, "/site"),
        ("assets", {"path": "x", "site": "films", "tags": ["a,b"]}, "/tags/0"),
        ("assets", {"path": "x", "site": "films", "origin_path": "x y"}, "/origin_path"),
        ("invalidations", {}, "/urls"),
        ("invalidations", {"urls": ["/x"]}, "/urls/0"),
    ):
        status, said, _ = cdn.ask("POST", f"/v1/cdn/{path}", body, token=cdn.admin)
        assert (status, said["errors"][0]["pointer"]) == (400, pointer)
    assert cdn.ask("POST", "/v1/cdn/invalidations", {"pattern": "/x", "site": "nowhere"}, token=cdn.admin)[0] == 404
    assert cdn.ask("GET", "/v1/cdn/invalidations/x", token=cdn.reader)[0] == 404


def test_every_call_of_the_service_answers(cdn: Cdn) -> None:
    host, port = cdn.served.address("grpc")
    with grpc.insecure_channel(f"{host}:{port}") as channel:

        def call(name: str, request: Any, token: str = cdn.admin) -> Any:
            answer = getattr(pb, f"{name}Response")
            method = channel.unary_unary(f"/nova.cdn.v1.CdnService/{name}", type(request).SerializeToString, answer.FromString)
            return method(request, timeout=20, metadata=(("authorization", f"Bearer {token}"),))

        made = call(
            "RegisterCdnAsset", pb.RegisterCdnAssetRequest(path="g/one", site="films", origin_path="/size/9?g", ttl=60, tags=["g"])
        ).asset
        assert (made.version, made.ttl, made.tags) == (1, 60, ["g"])
        assert call("GetCdnAsset", pb.GetCdnAssetRequest(id=made.id), cdn.reader).asset == made
        changed = call("UpdateCdnAsset", pb.UpdateCdnAssetRequest(id=made.id, ttl=0, private=True)).asset
        assert (changed.version, changed.ttl, changed.private, changed.tags) == (2, 0, True, ["g"])
        url = call("GenerateCdnUrl", pb.GenerateCdnUrlRequest(asset=made.id, expires_in=60)).url
        assert cdn.ask("GET", "/cdn/" + url.partition("/cdn/")[2])[0] == 200
        job = call("InvalidateCache", pb.InvalidateCacheRequest(tags=["g"])).job
        until(
            lambda: call("GetCacheInvalidationStatus", pb.GetCacheInvalidationStatusRequest(id=job.id)).job.status,
            lambda status: status == "done",
        )
        assert call("InvalidateCachePattern", pb.InvalidateCachePatternRequest(pattern="/g/**", site="films")).job.kind == "purge"
        assert call("PrewarmCache", pb.PrewarmCacheRequest(urls=["/size/9?g"], site="films")).job.kind == "prewarm"
        assert call("GetCdnUsageStats", pb.GetCdnUsageStatsRequest(asset=made.id)).total.requests >= 1
        assert [edge.edge for edge in call("GetEdgeLocations", pb.GetEdgeLocationsRequest()).items] == ["here"]
        assert call("GetDeploymentStatus", pb.GetDeploymentStatusRequest()).items[0].current
        metrics = call("GetCdnMetrics", pb.GetCdnMetricsRequest())
        assert {site.site for site in metrics.sites} == {"closed", "films", "shop"}
        assert _names(cdn.look("/v1/cdn/metrics", token=cdn.admin)) == _names(json_format.MessageToDict(metrics, **PLAIN))
        deployed = call("GetDeploymentStatus", pb.GetDeploymentStatusRequest())
        assert json_format.MessageToDict(deployed, **PLAIN)["items"] == [
            each | {"edges": [edge | {"since": _short(edge["since"])} for edge in each["edges"]]}
            for each in cdn.look("/v1/cdn/deployments", token=cdn.admin)["items"]
        ]
        with pytest.raises(grpc.RpcError) as caught:
            call("InvalidateCache", pb.InvalidateCacheRequest(tags=["g"]), cdn.reader)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.RpcError) as caught:
            call("GetCdnAsset", pb.GetCdnAssetRequest(id="nothing"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


PLAIN: Any = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}


def _names(found: Any) -> Any:
    """The names of all members that have a value, as they lie in one another."""
    if isinstance(found, list):
        return _names(found[0]) if found else None
    return {name: _names(value) for name, value in found.items() if value is not None} if isinstance(found, dict) else None


def _short(time: str) -> str:
    """As protobuf writes a time: without the milliseconds of a whole second."""
    return time.replace(".000Z", "Z")
