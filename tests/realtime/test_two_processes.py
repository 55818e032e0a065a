"""Two servers on one Redis, each of the three killed and started again under load."""

import hashlib
import hmac
import json
import signal
import threading
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.core.bus.redis_server import RedisServer, redis_server
from tests.serving import Served, serve
from tests.surface.cli.test_commands import nova

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
            until(lambda: is_ready(one))
            with serve(tmp_path / "two" / "data", **common) as two:
                keyed = [ask(each, "/v1/channels/public:keys/publish", {"data": 1}, Idempotency_Key="k") for each in (one, two)]
                assert keyed[0] == keyed[1] and keyed[0]["offset"] == 1
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
                # Redis loses everything, and numbering begins anew: readers go on, and are told what they missed meanwhile.
                redis.kill()
                redis.forget()
                redis.start()
                told = [again]
                for number in range(450, 650):
                    publish(one, number)
                    if not told[-1].is_alive():  # the server could not enter it anew while Redis was away, and said so
                        told.append(Reader(two.address("http"), told[-1].cursor))
                        told[-1].start()
                    with told[-1].news:
                        if told[-1].news.wait_for(lambda: told[-1].seen and told[-1].seen[-1] >= 450, timeout=0.2):
                            break
                fresh = [number for each in told for number in each.seen if number >= 450]
                assert fresh and fresh == sorted(fresh)
                assert fresh[0] == 450 or any("gap" in each.names for each in told)


SECRET = b"0123456789abcdef0123456789abcdef"


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def token(user: str) -> str:
    """Of an issuer that both servers know."""
    now = int(time.time())
    claims = {"iss": "both", "aud": "nova", "sub": user, "iat": now, "exp": now + 3600, "scope": "chat stream:write", "jti": user}
    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", "kid": "both"}, claims)]
    return ".".join([*parts, encoded(hmac.digest(SECRET, ".".join(parts).encode(), hashlib.sha256))])


def call(server: Served, method: str, path: str, user: str, body: Any = None, key: str = "") -> tuple[int, Any, Any]:
    """(status, headers, body)."""
    host, port = server.address("http")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token(user)}"}
    if key:
        headers["Idempotency-Key"] = key
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


def until_taken(server: Served, path: str, user: str, body: Any) -> Any:
    """Posted until it is not refused for what is down."""
    for _ in range(400):
        status, _headers, said = call(server, "POST", path, user, body)
        if status != 503:
            assert status == 201, said
            return said
        threading.Event().wait(0.05)
    raise AssertionError("it was not taken")


def test_chat_of_a_stream_is_the_same_on_the_node_that_does_not_keep_it(tmp_path: Path) -> None:
    for name in ("redis", "one", "two"):
        (tmp_path / name).mkdir()
    with redis_server(tmp_path / "redis") as redis:
        common = of_one_issuer(tmp_path, redis)
        with serve(tmp_path / "two" / "data", **common) as two:
            with serve(tmp_path / "one" / "data", **common) as one:
                stream = call(one, "POST", "/v1/streams", "alice", {"title": "T"})[2]["id"]
                chat = f"/v1/streams/{stream}"
                status, headers, said = call(two, "POST", f"{chat}/comments", "bob", {"text": "from afar"})
                assert status == 201 and headers["Location"] == f"{chat}/comments/{said['id']}"
                assert call(one, "GET", f"{chat}/comments", "eve")[2]["items"] == [said]
                assert call(two, "GET", f"{chat}/comments", "eve")[2]["items"] == [said]
                assert call(two, "DELETE", f"{chat}/comments/{said['id']}", "eve")[:1] == (403,)
                keyed = [call(server, "POST", f"{chat}/comments", "ida", {"text": "once"}, key="k")[2] for server in (one, two, two)]
                assert keyed[0] == keyed[1] == keyed[2] and call(one, "GET", f"{chat}/comments", "eve")[2]["items"] == [keyed[0], said]
                assert call(two, "PUT", f"{chat}/moderators/mod", "alice")[0] == 204
                assert call(two, "PUT", f"{chat}/bans/bob", "mod", {"seconds": 600})[0] == 204
                for server in (one, two):
                    status, _, refused = call(server, "POST", f"{chat}/comments", "bob", {"text": "again"})
                    assert (status, refused["code"]) == (403, "banned")
                changed = {"enabled": True, "slow_mode_s": 600, "guests": True}
                assert call(two, "PATCH", f"{chat}/chat", "mod", {"slow_mode_s": 600})[2] == changed
                assert call(one, "GET", f"{chat}/chat", "eve")[2] == {**changed, "moderator": False}
                assert call(one, "POST", f"{chat}/comments", "eve", {"text": "one"})[0] == 201
                status, headers, refused = call(two, "POST", f"{chat}/comments", "eve", {"text": "two"})
                assert (status, refused["code"]) == (429, "slow_mode") and int(headers["Retry-After"]) > 0
                # Redis is killed and comes back: what was asked meanwhile is refused, and then it goes on.
                redis.kill()
                status, headers, refused = call(two, "POST", f"{chat}/comments", "ann", {"text": "away"})
                assert status == 503 and "Retry-After" in headers
                redis.start()
                until_taken(two, f"{chat}/comments", "ann", {"text": "back"})
                # Its keeper is killed: that is told from a stream that is none.
                one.process.kill()
                one.process.wait()
                one.process.returncode = 0  # it did not end by itself, and was not to
                status, headers, refused = call(two, "GET", f"{chat}/comments", "eve")
                assert (status, refused["code"]) == (503, "node_unavailable") and int(headers["Retry-After"]) > 0
                assert until_known(two, "/v1/streams/01890000-0000-7000-8000-000000000009") == 404
            with serve(tmp_path / "one" / "data", **common) as one:
                texts = [each["text"] for each in call(two, "GET", f"{chat}/comments", "eve")[2]["items"]]
                assert texts == ["back", "one", "once"]
                # Redis loses everything: the keeper writes again what it keeps.
                redis.kill()
                redis.forget()
                redis.start()
                assert until_known(two, chat) == 200
                assert call(two, "DELETE", chat, "alice")[0] == 404  # the stream itself is served where it is
                assert call(one, "DELETE", chat, "alice")[0] == 204
                assert call(two, "GET", f"{chat}/comments", "eve")[0] == 404


def test_keeper_that_was_frozen_does_nothing_of_what_was_told_to_have_failed(tmp_path: Path) -> None:
    with redis_server(make(tmp_path / "redis")) as redis:
        common = of_one_issuer(tmp_path, redis)
        with serve(make(tmp_path / "two") / "data", **common) as two, serve(make(tmp_path / "one") / "data", **common) as one:
            stream = call(one, "POST", "/v1/streams", "alice", {"title": "T"})[2]["id"]
            chat = f"/v1/streams/{stream}"
            first = until_taken(two, f"{chat}/comments", "bob", {"text": "first"})
            node = redis.say(f"HGET nova:table:realtime:keepers {stream}").split()[1].decode()
            # For a moment: it holds its lease still, but nobody waits any more.
            one.process.send_signal(signal.SIGSTOP)
            status, headers, refused = call(two, "PUT", f"{chat}/bans/eve", "alice", {"seconds": 600})
            one.process.send_signal(signal.SIGCONT)
            assert (status, refused["code"]) == (503, "node_unavailable") and int(headers["Retry-After"]) > 0
            until_logged(one, "question_taken_back")
            until_taken(two, f"{chat}/comments", "eve", {"text": "second"})
            # For longer than its lease.
            one.process.send_signal(signal.SIGSTOP)
            for method, path, user, body in (
                ("POST", f"{chat}/comments", "eve", {"text": "later"}),
                ("PUT", f"{chat}/bans/bob", "alice", {"seconds": 600}),
                ("DELETE", f"{chat}/comments/{first['id']}", "alice", None),
            ):  # fmt: skip
                status, _, refused = call(two, method, path, user, body)
                assert (status, refused["code"]) == (503, "node_unavailable")
            until(lambda: redis.say(f"EXISTS nova:lease:realtime:keepers:{node}") == b":0\r\n")
            one.process.send_signal(signal.SIGCONT)
            until_taken(two, f"{chat}/comments", "bob", {"text": "third"})
            for server in (one, two):
                assert [each["text"] for each in call(server, "GET", f"{chat}/comments", "eve")[2]["items"]] == ["third", "second", "first"]
            assert redis.say(f"EXISTS nova:lease:realtime:keepers:{node}") == b":1\r\n"


def test_node_that_never_comes_back_is_forgotten_by_a_command(tmp_path: Path) -> None:
    with redis_server(make(tmp_path / "redis")) as redis:
        common = of_one_issuer(tmp_path, redis)
        with serve(make(tmp_path / "two") / "data", **common) as two:
            data = ("--data", str(two.data))
            with serve(make(tmp_path / "one") / "data", **common) as one:
                stream = call(one, "POST", "/v1/streams", "alice", {"title": "T"})[2]["id"]
                node = redis.say(f"HGET nova:table:realtime:keepers {stream}").split()[1].decode()
                listed = [json.loads(line) for line in nova("node", "list", "--json", *data).stdout.splitlines()]
                assert len(listed) == 2 and all(each["lease_s"] > 0 for each in listed)
                assert {each["node"]: each["streams"] for each in listed}[node] == 1
                refused = nova("node", "forget", node, *data)
                assert refused.returncode == 1 and "stop it first" in refused.stderr
                one.process.kill()
                one.process.wait()
                one.process.returncode = 0  # it did not end by itself, and was not to
            assert call(two, "GET", f"/v1/streams/{stream}/comments", "eve")[0] == 503
            until(lambda: nova("node", "forget", node, *data).stdout == f"forgot {node} and 1 streams\n")
            assert until_known(two, f"/v1/streams/{stream}") == 404
            unknown = nova("node", "forget", "nobody", *data)
            assert unknown.returncode == 1 and "nova node list" in unknown.stderr


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def of_one_issuer(folder: Path, redis: RedisServer) -> dict[str, str]:
    """Settings of servers that share a Redis and know each other's users."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"kty": "oct", "kid": "both", "alg": "HS256", "k": encoded(SECRET)}))
    return {"bus__url": redis.url, "auth__keys": json.dumps([str(keys)]), "auth__issuer": "both"}


def until(true: Callable[[], bool]) -> None:
    for _ in range(1200):
        if true():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not come")


def is_ready(server: Served) -> bool:
    try:
        return bool(ask(server, "/readyz")["checks"]["bus"]["ok"])
    except urllib.error.HTTPError as error:
        error.close()
        return False  # something of it is not up yet


def until_logged(server: Served, event: str) -> None:
    until(lambda: event in (server.data.parent / "stderr").read_text())


def until_known(server: Served, chat: str) -> int:
    """The status once it is known whether there is such a stream: no node says that there is none while it cannot know."""
    for _ in range(1200):
        status = call(server, "GET", f"{chat}/comments", "eve")[0]
        if status != 503:
            return status
        threading.Event().wait(0.05)
    raise AssertionError("nobody knows it")
