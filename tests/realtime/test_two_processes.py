"""Two servers on one Redis, each of the three killed and started again under load."""

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.core.bus.redis_server import redis_server
from tests.serving import Served, serve

pytestmark = pytest.mark.slow
CHANNEL = "public:both"


def ask(server: Served, path: str, body: Any = None, **headers: str) -> Any:
    host, port = server.address("http")
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{host}:{port}{path}", data=data, headers=sent)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Reader(threading.Thread):
    """Follows the channel over SSE, and comes back with its cursor as a browser does."""

    def __init__(self, address: tuple[str, int], cursor: str = "") -> None:
        super().__init__(daemon=True)
        self.address, self.cursor = address, cursor
        self.seen: list[int] = []
        self.names: list[str] = []
        self.news = threading.Condition()
        self.ready = threading.Event()

    def run(self) -> None:
        url = f"http://{self.address[0]}:{self.address[1]}/v1/events?channels={CHANNEL}"
        request = urllib.request.Request(url, headers={"Last-Event-ID": self.cursor} if self.cursor else {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                name = ""
                for raw in answer:
                    line = raw.decode().rstrip("\n")
                    if line.startswith("id: "):
                        self.cursor = line[4:]
                    elif line.startswith("event: "):
                        name = line[7:]
                    elif line == ": ready":
                        self.ready.set()
                    elif line.startswith("data: "):
                        with self.news:
                            self.names.append(name)
                            if name == "pub":
                                self.seen.append(json.loads(line[6:])["pub"]["data"])
                            self.news.notify_all()
        except OSError:
            pass  # cut

    def until(self, last: int) -> list[int]:
        with self.news:
            assert self.news.wait_for(lambda: last in self.seen, timeout=60), self.seen[-3:]
        return self.seen


def publish(server: Served, number: int) -> None:
    """Until it is acknowledged."""
    for _ in range(200):
        try:
            ask(server, f"/v1/channels/{CHANNEL}/publish", {"data": number}, Idempotency_Key=f"n{number}")
            return
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            threading.Event().wait(0.05)
    raise AssertionError(f"{number} was not taken")


def test_two_servers_on_one_redis_lose_and_double_nothing(tmp_path: Path) -> None:
    for name in ("redis", "one", "two"):
        (tmp_path / name).mkdir()
    with redis_server(tmp_path / "redis") as redis:
        common = {"bus__url": redis.url, "realtime__namespaces": '["public history=5000"]'}
        with serve(tmp_path / "one" / "data", **common) as one:
            assert ask(one, "/readyz")["checks"]["bus"]["ok"]
            with serve(tmp_path / "two" / "data", **common) as two:
                reader = Reader(two.address("http"))
                reader.start()
                assert reader.ready.wait(30)
                for number in range(300):
                    if number == 150:
                        redis.kill()
                        threading.Timer(0.5, redis.start).start()
                    publish(one, number)
                assert reader.until(299) == list(range(300)) and set(reader.names) == {"pub"}
                two.process.kill()
                two.process.wait()
                reader.join(30)
                for number in range(300, 400):
                    publish(one, number)
                two.process.returncode = 0  # it did not end by itself, and was not to
            with serve(tmp_path / "two" / "data", **common) as two:
                again = Reader(two.address("http"), reader.cursor)
                again.start()
                for number in range(400, 450):
                    publish(two, number)
                assert again.until(449) == list(range(300, 450)) and set(again.names) == {"pub"}
                # Redis loses everything: readers are told that numbering begins anew, and their answer ends.
                redis.kill()
                redis.forget()
                redis.start()
                publish(one, 450)
                again.join(30)
                assert not again.is_alive() and again.names[-1] == "unsub"
                fresh = Reader(two.address("http"), again.cursor)
                fresh.start()
                assert fresh.ready.wait(30)
                publish(one, 451)
                assert fresh.until(451) == [451] and fresh.names == ["gap", "pub"]
