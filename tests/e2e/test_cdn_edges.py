"""Two edges in two processes behind one Redis: each of the three is killed and comes back, and nothing that was purged is served."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.cdn.origins.running import processes
from tests.core.bus.redis_server import redis_server
from tests.serving import Served, serve

pytestmark = pytest.mark.slow


class Edge:
    def __init__(self, served: Served, token: str = "") -> None:
        self.served = served
        self.token = (
            token
            or subprocess.run(
                [sys.executable, "-m", "nova", "token", "--user", "ada", "--scope", "cdn:admin", "--data", str(served.data)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
        )

    def ask(self, method: str, path: str, body: Any = None, listener: str = "http") -> tuple[int, Any, str]:
        """Status, body and Cache-Status."""
        connection = http.client.HTTPConnection(*self.served.address(listener), timeout=30)
        try:
            fields = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.token}"} if listener == "http" else {})
            connection.request(method, path, None if body is None else json.dumps(body), fields)
            answer = connection.getresponse()
            data = answer.read()
            kind = answer.getheader("Content-Type") or ""
            return answer.status, json.loads(data) if "json" in kind else data, answer.getheader("Cache-Status") or ""
        finally:
            connection.close()

    def kept(self, path: str) -> bool:
        """Whether the answer came from this edge."""
        status, _, line = self.ask("GET", path, listener="site:one")
        assert status == 200
        return line.startswith("nova; hit")

    def purge(self, path: str, **more: Any) -> Any:
        status, job, _ = self.ask("POST", "/v1/cdn/invalidations", {"urls": [path], "site": "one", **more})
        assert status == 202, job
        return job

    def settled(self, job: Any) -> dict[str, str]:
        done = until(lambda: self.ask("GET", f"/v1/cdn/invalidations/{job['id']}")[1], lambda found: found["status"] != "pending")
        return {edge["edge"]: edge["status"] for edge in done["edges"]}

    def sees(self) -> list[str]:
        return sorted(edge["edge"] for edge in self.ask("GET", "/v1/cdn/edges")[1]["items"])


def until(look: Callable[[], Any], check: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 40
    while not check(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_what_was_purged_while_an_edge_or_redis_was_away_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with processes("origin") as (origin,), redis_server(tmp_path / "redis") as redis:
        sites = [{"name": "one", "listen": "127.0.0.1:0", "origins": [{"url": origin.url}], "host": "origin", "heuristic": 0.0}]
        common = ("--set", f"cdn.sites={json.dumps(sites)}", "--set", f"bus.url={redis.url}", "--set", "cdn.disk=16MiB")

        def starts(name: str) -> Any:
            return serve(tmp_path / name / "data", *common, "--set", f"cdn.edge={name}")

        with starts("one") as one_served:
            one = Edge(one_served)
            with starts("two") as two_served:
                two = Edge(two_served)
                until(one.sees, lambda found: found == ["one", "two"])
                answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=600\r\nETag: "e"\r\n\r\nok'
                paths = [f"/raw/{number}?keep=1&bytes={quote(answer, safe='')}" for number in range(6)]
                for path in paths:
                    assert (two.kept(path), two.kept(path), one.kept(path), one.kept(path)) == (False, True, False, True)
                assert one.settled(one.purge(paths[0])) == {"one": "acked", "two": "acked"}
                assert not two.kept(paths[0])
                assert not one.kept(paths[0])

                # Redis dies: no purge is taken that not every edge would hear, and readers are sent elsewhere.
                redis.kill()
                until(lambda: two.ask("GET", "/readyz")[0], lambda status: status == 503)
                status, said, _ = one.ask("POST", "/v1/cdn/invalidations", {"urls": [paths[1]], "site": "one"})
                assert (status, said["status"]) == (503, 503)
                redis.start()
                until(lambda: two.ask("GET", "/readyz")[0], lambda status: status == 200)
                until(lambda: one.ask("GET", "/readyz")[0], lambda status: status == 200)
                assert two.kept(paths[2])
                one.settled(one.purge(paths[2]))
                until(lambda: two.kept(paths[2]), lambda kept: not kept)

                # An edge dies with its disk full of what is purged meanwhile.
                until(lambda: disk_objects(two), lambda count: count >= len(paths))
                two_served.process.kill()
                two_served.process.wait()
                two_served.process.returncode = 0  # it did not end by itself, and was not to
            one.purge(paths[3])
            one.purge(paths[4], soft=True)
            with starts("two") as two_served:
                two = Edge(two_served, two.token)
                assert two.ask("GET", paths[5], listener="site:one")[2].endswith("detail=disk")
                assert two.ask("GET", paths[3], listener="site:one")[2].startswith("nova; fwd=uri-miss")
                assert two.ask("GET", paths[4], listener="site:one")[2].startswith("nova; fwd=stale")

                # Redis comes back without its log: what was told meanwhile is not known, so nothing is kept.
                assert two.kept(paths[5])
                redis.kill()
                redis.forget()
                redis.start()
                until(lambda: two.kept(paths[5]), lambda kept: not kept)


def disk_objects(edge: Edge) -> int:
    return int(edge.ask("GET", "/v1/cdn/metrics")[1]["total"]["disk_objects"])
