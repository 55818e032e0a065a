"""The client as a machine: what was received, asked and ticked comes in; what to send, open, close and tell goes out. Pure.

Times are whole milliseconds of any clock that does not go back. `web/static/js/lib/realtime.js` is the same machine in JavaScript; both
are held to `tests/realtime/client/scenarios.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nova.realtime.client.channel import Channel
from nova.realtime.client.policy import STABLE_MS, Next, advised, after_close, after_error, pause

Json = Any
Effect = dict[str, Json]

UNANSWERED: Final = 100  # commands sent and not answered; the server takes 128
WAITING: Final = 256  # calls that wait for a connection or a reply; one more is refused
OPEN_MS: Final = 15_000  # for the WebSocket and the reply to `connect`
CALL_MS: Final = 15_000  # for a reply, over broken connections too; idempotency keys are remembered for five minutes
PING_MS: Final = 25_000  # of silence before we ask; the server may say another time
PONG_MS: Final = 10_000  # for the answer


@dataclass(slots=True)
class _Call:
    ticket: int
    kind: str
    body: Json
    until: int
    ours: Channel | None = None  # the machine's own: nobody waits for the reply


class Machine:
    """States: stopped, waiting (for `retry_at`), token, opening, greeting, connected.

    random: 0 to 1. key: makes idempotency keys. has_token: whether the shell can get a token.
    """

    def __init__(self, *, random: Callable[[], float], key: Callable[[], str], has_token: bool = False, name: str | None = None) -> None:
        self._random, self._key, self._has_token, self._name = random, key, has_token, name
        self.state = "stopped"
        self.channels: dict[str, Channel] = {}
        self._effects: list[Effect] = []
        self._calls: dict[int, _Call] = {}  # by ticket, in the order in which they were made
        self._sent: dict[int, _Call] = {}  # by the command's id
        self._queue: list[_Call] = []
        self._last_ticket = self._last_id = 0
        self._tries = 0
        self._retry_at: int | None = None
        self._advised: int | None = None
        self._opened_at = self._heard_at = 0
        self._pinged_at: int | None = None  # since when we wait for the answer
        self._ping_ms = PING_MS
        self._refresh_at: int | None = None
        self._lifetime_ms = 0
        self._refreshing = False
        self._token: str | None = None

    # -- the application -----------------------------------------------------------------------------------------------

    def start(self, now: int) -> None:
        """Be connected from now on."""
        if self.state == "stopped":
            self._tries = 0
            self._open(now)

    def stop(self, now: int) -> None:
        """Not any more."""
        self._stop(1000, "", now, close=self.state in ("opening", "greeting", "connected"))

    def wake(self, now: int) -> None:
        """The network is back, or somebody looks again: a pause between tries ends now, unless the server asked for it; a connection is
        asked whether it still is one."""
        if self.state == "waiting" and self._advised is None:
            self._open(now)
        elif self.state == "connected":
            self._ping(now)

    def subscribe(self, name: str, now: int, place: tuple[int, str] | None = None) -> None:
        """Follow a channel from now on, over every connection. place: offset and epoch to recover from."""
        if name not in self.channels:
            channel = self.channels[name] = Channel(name, place)
            if self.state == "connected":
                self._join(channel)

    def unsubscribe(self, name: str, now: int) -> None:
        channel = self.channels.pop(name, None)
        if channel is not None and (channel.joined or channel.ticket) and self.state == "connected":
            self._command("unsubscribe", {"channel": name}, Channel(name, None))

    def call(self, kind: str, body: Json, now: int, timeout_ms: int = CALL_MS) -> int:
        """`publish`, `history` or `presence`; a ticket that `resolve` or `reject` will name. Survives broken connections."""
        self._last_ticket += 1
        ticket = self._last_ticket
        if len(self._calls) >= WAITING:
            self._reject(ticket, {"code": "overloaded", "message": "too many calls wait"})
            return ticket
        if kind == "publish" and "idempotency_key" not in body:
            body = {**body, "idempotency_key": self._key()}
        made = self._calls[ticket] = _Call(ticket, kind, body, now + timeout_ms)
        if self.state == "stopped":
            self._finish(made)
            self._reject(ticket, {"code": "stopped", "message": "the client is not connected"})
        else:
            self._queue.append(made)
            self._flush()
        return ticket

    def withdraw(self, ticket: int) -> None:
        """Nobody waits for that call any more: it is not sent, or not again."""
        if (call := self._calls.get(ticket)) is not None:
            self._finish(call)

    # -- the shell -----------------------------------------------------------------------------------------------------

    def effects(self) -> list[Effect]:
        """What to do, in order; each once. `open`, `send` [commands], `close` code, `token`, `event`, `resolve`, `reject`."""
        for channel in self.channels.values():
            if channel.events:
                self._effects += channel.events
                channel.events = []
        found, self._effects = self._effects, []
        return found

    @property
    def deadline(self) -> int | None:
        """When to call `tick`."""
        times = [call.until for call in self._calls.values()]
        if self.state == "waiting" and self._retry_at is not None:
            times.append(self._retry_at)
        elif self.state in ("opening", "greeting"):
            times.append(self._opened_at + OPEN_MS)
        elif self.state == "connected":
            times.append(self._heard_at + self._ping_ms if self._pinged_at is None else self._pinged_at + PONG_MS)
            times += [channel.retry_at for channel in self.channels.values() if channel.retry_at is not None]
            if self._refresh_at is not None:
                times.append(self._refresh_at)
        return min(times, default=None)

    def tick(self, now: int) -> None:
        for late in [call for call in self._calls.values() if call.until <= now]:
            self._finish(late)
            self._reject(late.ticket, {"code": "deadline", "message": "no reply in time"})
        if self.state == "waiting" and self._retry_at is not None and self._retry_at <= now:
            self._open(now)
        elif self.state in ("opening", "greeting") and self._opened_at + OPEN_MS <= now:
            self._broken(4004, "deadline", now)
        elif self.state == "connected":
            self._tick_connected(now)

    def token(self, value: str | None, now: int) -> None:
        """The answer to the effect `token`; None: there is none to be had now."""
        if self._refreshing:
            self._refreshing = False
            if value is None:
                self._refresh_soon(now)
            else:
                self._token = value
                self._command("refresh", {"token": value}, Channel("", None))
        elif self.state == "token":
            self._token = value
            if value is None:
                self._wait(now)
            else:
                self._dial(now)

    def opened(self, now: int) -> None:
        """The WebSocket is open."""
        if self.state == "opening":
            self.state = "greeting"
            self._heard_at = now
            body = {key: value for key, value in (("token", self._token), ("name", self._name)) if value is not None}
            self._command("connect", body, Channel("", None))

    def closed(self, code: int, reason: str, now: int) -> None:
        """The WebSocket is closed, or could not be opened (1006)."""
        if self.state in ("opening", "greeting", "connected"):
            self._over(code, reason, now)

    def hold(self, now: int) -> None:
        """We do not read for a moment: the silence is ours."""
        self._heard_at = now
        if self._pinged_at is not None:
            self._pinged_at = now

    def received(self, item: Json, now: int) -> None:
        """A frame's value: one reply or push, or an array of them."""
        if self.state not in ("greeting", "connected"):
            return
        self._heard_at, self._pinged_at = now, None
        for each in item if isinstance(item, list) else [item]:
            if self.state in ("greeting", "connected"):
                if "id" in each:
                    self._reply(each, now)
                else:
                    kind = next(iter(each))
                    self._push(kind, each[kind], now)
        self._flush()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _tick_connected(self, now: int) -> None:
        if self._pinged_at is not None and self._pinged_at + PONG_MS <= now:
            self._broken(4006, "silent", now)
            return
        if self._heard_at + self._ping_ms <= now:
            self._ping(now)
        for channel in self.channels.values():
            if channel.retry_at is not None and channel.retry_at <= now:
                channel.retry_at = None
                if channel.joined:
                    self._more(channel, channel.refill())
                else:
                    self._join(channel)
        if self._refresh_at is not None and self._refresh_at <= now:
            self._refresh_at, self._refreshing = now + self._lifetime_ms, True
            self._effects.append({"token": "refresh"})

    def _ping(self, now: int) -> None:
        """Ask whether the other side is there. The answer has its time from now on, however late this is: we may have slept."""
        if self._pinged_at is None:
            self._pinged_at = now
            self._command("ping", {}, Channel("", None))

    def _open(self, now: int) -> None:
        self._retry_at = self._advised = None
        if self._has_token:
            self._become("token")
            self._effects.append({"token": "connect"})
        else:
            self._dial(now)

    def _dial(self, now: int) -> None:
        self._opened_at = now
        self._become("opening")
        self._effects.append({"open": True})

    def _become(self, state: str, **facts: Json) -> None:
        self.state = state
        self._effects.append({"event": "state", "state": state, **facts})

    def _command(self, kind: str, body: Json, ours: Channel) -> None:
        """A command of the machine itself: it is sent at once."""
        self._send(_Call(0, kind, body, 0, ours))

    def _send(self, call: _Call) -> None:
        self._last_id = self._last_id % (2**31 - 1) + 1
        self._sent[self._last_id] = call
        command = {"id": self._last_id, call.kind: call.body}
        if self._effects and len(self._effects[-1].get("send", ())) in range(1, UNANSWERED):  # a frame holds 128
            self._effects[-1]["send"].append(command)
        else:
            self._effects.append({"send": [command]})

    def _flush(self) -> None:
        while self.state == "connected" and self._queue and len(self._sent) < UNANSWERED:
            self._send(self._queue.pop(0))

    def _join(self, channel: Channel) -> None:
        channel.ticket = self._last_id + 1
        self._command("subscribe", {"channel": channel.name, **channel.recover}, channel)

    def _reply(self, item: Mapping[str, Json], now: int) -> None:
        call = self._sent.pop(item["id"], None)
        if call is None:
            return
        error = item.get("error")
        if call.ours is None:
            self._finish(call)
            if error is None:
                self._effects.append({"resolve": call.ticket, "value": item[call.kind]})
            else:
                self._reject(call.ticket, error)
        elif call.kind == "connect":
            self._greeted(item, error, now)
        elif call.kind == "refresh" and error is None:
            self._lasts(item["refresh"], now)
        elif call.kind == "refresh":
            self._refresh_soon(now)
        elif call.kind == "subscribe" and self.channels.get(call.ours.name) is call.ours:
            self._joined(call.ours, item, error, now)
        elif call.kind == "history" and self.channels.get(call.ours.name) is call.ours:
            self._filled(call.ours, item, error, now)

    def _greeted(self, item: Mapping[str, Json], error: Json | None, now: int) -> None:
        if error is not None and error["code"] != "conflict":  # conflict: the upgrade has said who we are
            what = after_error(error)
            self._effects.append({"close": 1000})
            self._end(what, 0, error["code"], now)
            return
        reply = item.get("connect", {})
        self._ping_ms = int(reply.get("ping_s", PING_MS / 1000) * 1000)
        self._lasts(reply, now)
        self._opened_at = now
        self._become("connected", client=reply.get("client"), user=reply.get("user"))
        for channel in self.channels.values():
            self._join(channel)
        self._flush()

    def _lasts(self, reply: Mapping[str, Json], now: int) -> None:
        expires = reply.get("expires_in")
        if expires and self._has_token:
            self._lifetime_ms = max(1000, int(expires * 1000 * 0.8))
            self._refresh_at = now + self._lifetime_ms

    def _joined(self, channel: Channel, item: Mapping[str, Json], error: Json | None, now: int) -> None:
        channel.ticket = 0
        if error is None:
            self._more(channel, channel.subscribed(item["subscribe"]))
        elif self._for_good(after_error(error)):
            self._left(channel, 0, error["code"])
        else:
            self._later(channel, error.get("retry_ms", 0), now)

    def _filled(self, channel: Channel, item: Mapping[str, Json], error: Json | None, now: int) -> None:
        if error is None:
            self._more(channel, channel.history(item["history"]))
        elif self._for_good(after_error(error)):
            self._more(channel, channel.history(None))
        elif channel.refill() is not None:
            self._later(channel, error.get("retry_ms", 0), now)

    def _refresh_soon(self, now: int) -> None:
        """There was no token, or not a good one: a few more tries before the one that we have ends."""
        self._refresh_at = now + max(1000, self._lifetime_ms // 20)

    def _for_good(self, what: Next) -> bool:
        return what is Next.STOP or (what is Next.TOKEN and not self._has_token)

    def _later(self, channel: Channel, least_ms: int, now: int) -> None:
        """What a channel waits for is asked for again."""
        channel.retry_at = now + max(least_ms, pause(channel.tries, self._random()))
        channel.tries += 1

    def _left(self, channel: Channel, code: int, reason: str) -> None:
        del self.channels[channel.name]
        self._effects += [*channel.events, {"event": "left", "channel": channel.name, "code": code, "reason": reason}]

    def _push(self, kind: str, body: Json, now: int) -> None:
        if kind == "bye":
            self._advised = advised(body["reconnect_after_ms"], self._random())
            return
        channel = self.channels.get(body.get("channel", ""))
        if channel is None:
            return
        if kind == "unsub":
            if after_close(body["code"]) is Next.STOP:
                self._left(channel, body["code"], body["reason"])
            else:
                channel.lost_connection()
                self._later(channel, 0, now)
        elif kind in ("pub", "gap", "join", "leave"):
            self._more(channel, channel.push(kind, body))

    def _more(self, channel: Channel, history: Json | None) -> None:
        if history is not None:
            self._command("history", history, channel)

    def _broken(self, code: int, reason: str, now: int) -> None:
        self._effects.append({"close": code})
        self._over(code, reason, now)

    def _over(self, code: int, reason: str, now: int) -> None:
        self._end(after_close(code), code, reason, now)

    def _end(self, what: Next, code: int, reason: str, now: int) -> None:
        """The connection is over: go on by `what`."""
        if self.state == "connected" and now - self._opened_at >= STABLE_MS:
            self._tries = 0
        self._drop()
        if self._for_good(what):
            self._stop(code, reason, now, close=False)
        else:
            self._wait(now, code=code, reason=reason)

    def _drop(self) -> None:
        """Nothing of the connection is left; calls that were sent go out again, first ones first."""
        again = [call for call in self._sent.values() if call.ours is None and call.ticket in self._calls]
        self._queue = again + self._queue
        self._sent.clear()
        self._refresh_at, self._refreshing, self._pinged_at = None, False, None
        for channel in self.channels.values():
            channel.lost_connection()
            channel.retry_at = None

    def _wait(self, now: int, **facts: Json) -> None:
        wait = pause(self._tries, self._random()) if self._advised is None else self._advised
        self._tries += 1
        self._retry_at = now + wait
        self._become("waiting", after_ms=wait, **facts)

    def _stop(self, code: int, reason: str, now: int, *, close: bool) -> None:
        if self.state == "stopped":
            return
        if close:
            self._effects.append({"close": 1000})
        self._drop()
        self._retry_at = self._advised = None
        for call in list(self._calls.values()):
            self._finish(call)
            self._reject(call.ticket, {"code": "stopped", "message": "the client is not connected"})
        self._become("stopped", code=code, reason=reason)

    def _finish(self, call: _Call) -> None:
        self._calls.pop(call.ticket, None)
        if call in self._queue:
            self._queue.remove(call)

    def _reject(self, ticket: int, error: Json) -> None:
        self._effects.append({"reject": ticket, "error": error})
