"""What happens to a client and what it does about it: the one list that the Python and the JavaScript machine are held to.

A scenario is its options and its steps: a call of the machine, and the effects that follow, whole and in order. A step `["deadline"]`
gives the deadline. Everything is JSON. `random` is always 0.5, keys are k1, k2 …
"""

from __future__ import annotations

from typing import Any

Json = Any
Step = tuple[list[Json], Json]

LOBBY = "public:lobby"


def state(name: str, **facts: Json) -> Json:
    return {"event": "state", "state": name, **facts}


def pub(offset: int, data: Json = None, channel: str = LOBBY) -> Json:
    return {"pub": {"channel": channel, "offset": offset, "data": data or f"m{offset}", "at": offset}}


def kept(*offsets: int) -> list[Json]:
    return [{"offset": offset, "data": f"m{offset}", "at": offset} for offset in offsets]


def told(*offsets: int, replayed: bool = False, channel: str = LOBBY) -> list[Json]:
    return [
        {"event": "publication", "channel": channel, "replayed": replayed, "offset": o, "data": f"m{o}", "at": o, "info": None}
        for o in offsets
    ]


def joined(offset: int, *, recovered: bool = False, again: bool = False, epoch: str = "e", channel: str = LOBBY) -> Json:
    return {"event": "joined", "channel": channel, "offset": offset, "epoch": epoch, "recovered": recovered, "again": again}


def reply(id: int, offset: int, *publications: int, recovered: bool = False, epoch: str = "e") -> Json:
    return {"id": id, "subscribe": {"offset": offset, "epoch": epoch, "recovered": recovered, "publications": kept(*publications)}}


def gap(first: int, last: int, recovered: int, epoch: str = "e") -> Json:
    return {"event": "gap", "channel": LOBBY, "epoch": epoch, "recovered": recovered, "from": first, "to": last}


OPEN: Json = {"open": True}
CONNECTED = state("connected", client="c", user="u")
GREETING: Json = {"id": 1, "connect": {"client": "c", "user": "u", "expires_in": None, "ping_s": 25}}

# A connection at time 0 that follows the lobby from offset 5 on; ids 1 (connect) and 2 (subscribe) are used.
FOLLOWS: list[Step] = [
    (["subscribe", LOBBY, 0], []),
    (["start", 0], [state("opening"), OPEN]),
    (["opened", 0], [{"send": [{"id": 1, "connect": {}}]}]),
    (["received", GREETING, 0], [CONNECTED, {"send": [{"id": 2, "subscribe": {"channel": LOBBY}}]}]),
    (["received", reply(2, 5), 0], [joined(5)]),
]
AGAIN = {"channel": LOBBY, "recover": {"offset": 6, "epoch": "e"}}

SCENARIOS: dict[str, tuple[dict[str, Json], list[Step]]] = {
    "a publication arrives once": (
        {},
        [*FOLLOWS, (["received", pub(6), 1], told(6)), (["received", [pub(6), pub(7), pub(5)], 2], told(7))],
    ),
    "the last publications are replayed to a newcomer": (
        {},
        [*FOLLOWS[:4], (["received", reply(2, 9, 8, 9), 0], [joined(9), *told(8, 9, replayed=True)])],
    ),
    "a hole in the offsets is no loss": ({}, [*FOLLOWS, (["received", pub(9), 1], told(9))]),
    "members come and go": (
        {},
        [
            *FOLLOWS,
            (
                ["received", {"join": {"channel": LOBBY, "user": "x", "client": "y"}}, 1],
                [{"event": "join", "channel": LOBBY, "user": "x", "client": "y"}],
            ),
        ],
    ),
    "a broken connection comes back and recovers": (
        {},
        [
            *FOLLOWS,
            (["received", pub(6), 1], told(6)),
            (["closed", 1006, "", 20_000], [state("waiting", after_ms=375, code=1006, reason="")]),
            (["deadline"], 20_375),
            (["tick", 20_374], []),
            (["tick", 20_375], [state("opening"), OPEN]),
            (["opened", 20_400], [{"send": [{"id": 3, "connect": {}}]}]),
            (["received", {**GREETING, "id": 3}, 20_410], [CONNECTED, {"send": [{"id": 4, "subscribe": AGAIN}]}]),
            (["received", pub(9), 20_420], []),  # ahead of the reply: it waits for what is before it
            (["received", reply(4, 8, 7, 8, recovered=True), 20_430], [joined(8, recovered=True, again=True), *told(7, 8, 9)]),
        ],
    ),
    "what cannot be recovered is told": (
        {},
        [
            *FOLLOWS,
            (["received", pub(6), 1], told(6)),
            (["closed", 4002, "", 20_000], [state("waiting", after_ms=375, code=4002, reason="")]),
            (["tick", 20_375], [state("opening"), OPEN]),
            (["opened", 20_400], [{"send": [{"id": 3, "connect": {}}]}]),
            (["received", {**GREETING, "id": 3}, 20_410], [CONNECTED, {"send": [{"id": 4, "subscribe": AGAIN}]}]),
            (["received", reply(4, 20, 19, 20), 20_430], [gap(7, 18, 0), joined(20, again=True), *told(19, 20)]),
        ],
    ),
    "what cannot be recovered at all is told": (
        {},
        [
            *FOLLOWS,
            (["received", pub(6), 1], told(6)),
            (["closed", 4002, "", 20_000], [state("waiting", after_ms=375, code=4002, reason="")]),
            (["tick", 20_375], [state("opening"), OPEN]),
            (["opened", 20_400], [{"send": [{"id": 3, "connect": {}}]}]),
            (["received", {**GREETING, "id": 3}, 20_410], [CONNECTED, {"send": [{"id": 4, "subscribe": AGAIN}]}]),
            (["received", reply(4, 20), 20_430], [gap(7, 20, 0), joined(20, again=True)]),
        ],
    ),
    "another epoch begins anew": (
        {},
        [
            *FOLLOWS,
            (["received", pub(6), 1], told(6)),
            (["closed", 1001, "", 20_000], [state("waiting", after_ms=375, code=1001, reason="")]),
            (["tick", 20_375], [state("opening"), OPEN]),
            (["opened", 20_400], [{"send": [{"id": 3, "connect": {}}]}]),
            (["received", {**GREETING, "id": 3}, 20_410], [CONNECTED, {"send": [{"id": 4, "subscribe": AGAIN}]}]),
            (["received", reply(4, 2, 1, 2, epoch="f"), 20_430], [gap(0, 0, 0, "f"), joined(2, again=True, epoch="f"), *told(1, 2)]),
            (["received", pub(3), 20_440], told(3)),
        ],
    ),
    "a subscription that begins at a place recovers at once": (
        {},
        [
            (["subscribe", LOBBY, 0, [3, "e"]], []),
            *FOLLOWS[1:3],
            (
                ["received", GREETING, 0],
                [CONNECTED, {"send": [{"id": 2, "subscribe": {"channel": LOBBY, "recover": {"offset": 3, "epoch": "e"}}}]}],
            ),
            (["received", reply(2, 5, 4, 5, recovered=True), 0], [joined(5, recovered=True, again=True), *told(4, 5)]),
        ],
    ),
    "a gap is filled from the history before anything behind it": (
        {},
        [
            *FOLLOWS,
            (
                ["received", {"gap": {"channel": LOBBY, "epoch": "e", "from": 6, "to": 8}}, 1],
                [{"send": [{"id": 3, "history": {"channel": LOBBY, "since": {"offset": 5, "epoch": "e"}, "limit": 1000}}]}],
            ),
            (["received", pub(9), 2], []),
            (
                ["received", {"id": 3, "history": {"publications": kept(6, 8, 9), "offset": 9, "epoch": "e", "more": False}}, 3],
                [*told(6, 8), gap(6, 8, 2), *told(9)],
            ),
        ],
    ),
    "a gap that the history does not have is told": (
        {},
        [
            *FOLLOWS,
            (
                ["received", {"gap": {"channel": LOBBY, "epoch": "e", "from": 6, "to": 8}}, 1],
                [{"send": [{"id": 3, "history": {"channel": LOBBY, "since": {"offset": 5, "epoch": "e"}, "limit": 1000}}]}],
            ),
            (["received", {"id": 3, "error": {"code": "forbidden", "message": ""}}, 3], [gap(6, 8, 0)]),
            (["received", pub(9), 4], told(9)),
        ],
    ),
    "a gap whose history cannot be had now is not lost": (
        {},
        [
            *FOLLOWS,
            (
                ["received", {"gap": {"channel": LOBBY, "epoch": "e", "from": 6, "to": 8}}, 1],
                [{"send": [{"id": 3, "history": {"channel": LOBBY, "since": {"offset": 5, "epoch": "e"}, "limit": 1000}}]}],
            ),
            (["received", {"id": 3, "error": {"code": "unavailable", "message": "", "retry_ms": 2000}}, 10], []),
            (["received", pub(9), 11], []),
            (["deadline"], 2010),
            (["tick", 2010], [{"send": [{"id": 4, "history": {"channel": LOBBY, "since": {"offset": 5, "epoch": "e"}, "limit": 1000}}]}]),
            (["received", {"id": 4, "error": {"code": "rate_limited", "message": ""}}, 2020], []),
            (["deadline"], 2770),
            (["tick", 2770], [{"send": [{"id": 5, "history": {"channel": LOBBY, "since": {"offset": 5, "epoch": "e"}, "limit": 1000}}]}]),
            (
                ["received", {"id": 5, "history": {"publications": kept(6, 8, 9), "offset": 9, "epoch": "e", "more": False}}, 2780],
                [*told(6, 8), gap(6, 8, 2), *told(9)],
            ),
            (["deadline"], 27_780),
        ],
    ),
    "a history that was to be asked for again is not asked for by the next connection": (
        {},
        [
            *FOLLOWS,
            (
                ["received", {"gap": {"channel": LOBBY, "epoch": "e", "from": 6, "to": 8}}, 1],
                [{"send": [{"id": 3, "history": {"channel": LOBBY, "since": {"offset": 5, "epoch": "e"}, "limit": 1000}}]}],
            ),
            (["received", {"id": 3, "error": {"code": "internal", "message": "", "retry_ms": 9000}}, 2], []),
            (["closed", 1006, "", 3], [state("waiting", after_ms=375, code=1006, reason="")]),
            (["tick", 378], [state("opening"), OPEN]),
            (["opened", 400], [{"send": [{"id": 4, "connect": {}}]}]),
            (
                ["received", {**GREETING, "id": 4}, 410],
                [CONNECTED, {"send": [{"id": 5, "subscribe": {"channel": LOBBY, "recover": {"offset": 5, "epoch": "e"}}}]}],
            ),
            (["received", reply(5, 9, 6, 7, 8, 9, recovered=True), 420], [joined(9, recovered=True, again=True), *told(6, 7, 8, 9)]),
            (["deadline"], 25_420),
        ],
    ),
    "a second gap waits for the first": (
        {},
        [
            *FOLLOWS,
            (
                ["received", {"gap": {"channel": LOBBY, "epoch": "e", "from": 6, "to": 7}}, 1],
                [{"send": [{"id": 3, "history": {"channel": LOBBY, "since": {"offset": 5, "epoch": "e"}, "limit": 1000}}]}],
            ),
            (["received", [pub(8), {"gap": {"channel": LOBBY, "epoch": "e", "from": 9, "to": 9}}, pub(10)], 2], []),
            (
                ["received", {"id": 3, "history": {"publications": kept(6, 7), "offset": 10, "epoch": "e", "more": True}}, 3],
                [
                    {"send": [{"id": 4, "history": {"channel": LOBBY, "since": {"offset": 8, "epoch": "e"}, "limit": 1000}}]},
                    *told(6, 7),
                    gap(6, 7, 2),
                    *told(8),
                ],
            ),
            (
                ["received", {"id": 4, "history": {"publications": kept(9, 10), "offset": 10, "epoch": "e", "more": False}}, 4],
                [*told(9), gap(9, 9, 1), *told(10)],
            ),
        ],
    ),
    "a gap under way ends with its connection": (
        {},
        [
            *FOLLOWS,
            (
                ["received", {"gap": {"channel": LOBBY, "epoch": "e", "from": 6, "to": 8}}, 1],
                [{"send": [{"id": 3, "history": {"channel": LOBBY, "since": {"offset": 5, "epoch": "e"}, "limit": 1000}}]}],
            ),
            (["received", pub(9), 2], []),
            (["closed", 1006, "", 3], [state("waiting", after_ms=375, code=1006, reason="")]),
            (["tick", 378], [state("opening"), OPEN]),
            (["opened", 400], [{"send": [{"id": 4, "connect": {}}]}]),
            (
                ["received", {**GREETING, "id": 4}, 410],
                [CONNECTED, {"send": [{"id": 5, "subscribe": {"channel": LOBBY, "recover": {"offset": 5, "epoch": "e"}}}]}],
            ),
            (["received", reply(5, 9, 6, 7, 8, 9, recovered=True), 420], [joined(9, recovered=True, again=True), *told(6, 7, 8, 9)]),
        ],
    ),
    "a publish is acknowledged": (
        {},
        [
            *FOLLOWS,
            (
                ["call", "publish", {"channel": LOBBY, "data": 1}, 1],
                [{"send": [{"id": 3, "publish": {"channel": LOBBY, "data": 1, "idempotency_key": "k1"}}]}],
            ),
            (
                ["received", {"id": 3, "publish": {"offset": 6, "epoch": "e", "durable": False}}, 2],
                [{"resolve": 1, "value": {"offset": 6, "epoch": "e", "durable": False}}],
            ),
        ],
    ),
    "a publish without a reply is sent again with its key": (
        {},
        [
            *FOLLOWS,
            (
                ["call", "publish", {"channel": LOBBY, "data": 1}, 1],
                [{"send": [{"id": 3, "publish": {"channel": LOBBY, "data": 1, "idempotency_key": "k1"}}]}],
            ),
            (["closed", 1006, "", 2], [state("waiting", after_ms=375, code=1006, reason="")]),
            (["call", "publish", {"channel": LOBBY, "data": 2}, 3], []),
            (["tick", 377], [state("opening"), OPEN]),
            (["opened", 400], [{"send": [{"id": 4, "connect": {}}]}]),
            (
                ["received", {**GREETING, "id": 4}, 410],
                [
                    CONNECTED,
                    {
                        "send": [
                            {"id": 5, "subscribe": {"channel": LOBBY, "recover": {"offset": 5, "epoch": "e"}}},
                            {"id": 6, "publish": {"channel": LOBBY, "data": 1, "idempotency_key": "k1"}},
                            {"id": 7, "publish": {"channel": LOBBY, "data": 2, "idempotency_key": "k2"}},
                        ]
                    },
                ],
            ),
        ],
    ),
    "a refused call is told with the server's words": (
        {},
        [
            *FOLLOWS,
            (["call", "presence", {"channel": LOBBY}, 1], [{"send": [{"id": 3, "presence": {"channel": LOBBY}}]}]),
            (
                ["received", {"id": 3, "error": {"code": "rate_limited", "message": "slow down", "retry_ms": 70}}, 2],
                [{"reject": 1, "error": {"code": "rate_limited", "message": "slow down", "retry_ms": 70}}],
            ),
        ],
    ),
    "a call has a deadline, connected or not": (
        {},
        [
            (["start", 0], [state("opening"), OPEN]),
            (["call", "history", {"channel": LOBBY}, 0, 5000], []),
            (["deadline"], 5000),
            (["tick", 5000], [{"reject": 1, "error": {"code": "deadline", "message": "no reply in time"}}]),
        ],
    ),
    "without a connection there is nothing to wait for": (
        {},
        [
            (
                ["call", "history", {"channel": LOBBY}, 0],
                [{"reject": 1, "error": {"code": "stopped", "message": "the client is not connected"}}],
            )
        ],
    ),
    "pauses double and end": (
        {},
        [
            (["start", 0], [state("opening"), OPEN]),
            (["closed", 1006, "", 0], [state("waiting", after_ms=375, code=1006, reason="")]),
            (["tick", 375], [state("opening"), OPEN]),
            (["closed", 1006, "", 375], [state("waiting", after_ms=750, code=1006, reason="")]),
            (["tick", 1125], [state("opening"), OPEN]),
            (["closed", 1006, "", 1125], [state("waiting", after_ms=1500, code=1006, reason="")]),
            (["wake", 1200], [state("opening"), OPEN]),
        ],
    ),
    "a goodbye says when to come back": (
        {},
        [
            *FOLLOWS,
            (["received", {"bye": {"code": 4002, "reason": "shutting_down", "reconnect_after_ms": 8000}}, 1], []),
            (["closed", 4002, "shutting_down", 2], [state("waiting", after_ms=8000, code=4002, reason="shutting_down")]),
            (["wake", 3], []),
            (["tick", 8002], [state("opening"), OPEN]),
        ],
    ),
    "a code of no return ends it": (
        {},
        [
            *FOLLOWS,
            (["call", "presence", {"channel": LOBBY}, 1], [{"send": [{"id": 3, "presence": {"channel": LOBBY}}]}]),
            (
                ["closed", 4312, "disconnected", 2],
                [
                    {"reject": 1, "error": {"code": "stopped", "message": "the client is not connected"}},
                    state("stopped", code=4312, reason="disconnected"),
                ],
            ),
            (["deadline"], None),
        ],
    ),
    "a code that wants a token ends it for who has none": (
        {},
        [*FOLLOWS, (["closed", 4202, "token_expired", 2], [state("stopped", code=4202, reason="token_expired")])],
    ),
    "every connection asks for a token": (
        {"has_token": True},
        [
            (["start", 0], [state("token"), {"token": "connect"}]),
            (["token", "t1", 5], [state("opening"), OPEN]),
            (["opened", 6], [{"send": [{"id": 1, "connect": {"token": "t1"}}]}]),
            (["closed", 4202, "token_expired", 7], [state("waiting", after_ms=375, code=4202, reason="token_expired")]),
            (["tick", 382], [state("token"), {"token": "connect"}]),
            (["token", None, 390], [state("waiting", after_ms=750)]),
            (["tick", 1140], [state("token"), {"token": "connect"}]),
        ],
    ),
    "a token is refreshed before it ends": (
        {"has_token": True},
        [
            (["start", 0], [state("token"), {"token": "connect"}]),
            (["token", "t1", 0], [state("opening"), OPEN]),
            (["opened", 0], [{"send": [{"id": 1, "connect": {"token": "t1"}}]}]),
            (["received", {"id": 1, "connect": {"client": "c", "user": "u", "expires_in": 20, "ping_s": 25}}, 0], [CONNECTED]),
            (["deadline"], 16_000),
            (["tick", 16_000], [{"token": "refresh"}]),
            (["token", "t2", 16_010], [{"send": [{"id": 2, "refresh": {"token": "t2"}}]}]),
            (["received", {"id": 2, "refresh": {"expires_in": 10}}, 16_020], []),
            (["deadline"], 24_020),
        ],
    ),
    "a token that could not be refreshed is asked for again before it ends": (
        {"has_token": True},
        [
            (["start", 0], [state("token"), {"token": "connect"}]),
            (["token", "t1", 0], [state("opening"), OPEN]),
            (["opened", 0], [{"send": [{"id": 1, "connect": {"token": "t1"}}]}]),
            (["received", {"id": 1, "connect": {"client": "c", "user": "u", "expires_in": 100, "ping_s": 200}}, 0], [CONNECTED]),
            (["tick", 80_000], [{"token": "refresh"}]),
            (["token", None, 81_000], []),
            (["deadline"], 85_000),
            (["tick", 85_000], [{"token": "refresh"}]),
            (["token", "t2", 85_000], [{"send": [{"id": 2, "refresh": {"token": "t2"}}]}]),
            (["received", {"id": 2, "error": {"code": "bad_token", "message": ""}}, 86_000], []),
            (["deadline"], 90_000),
            (["tick", 90_000], [{"token": "refresh"}]),
            (["token", "t3", 90_000], [{"send": [{"id": 3, "refresh": {"token": "t3"}}]}]),
            (["received", {"id": 3, "refresh": {"expires_in": 50}}, 90_000], []),
            (["deadline"], 130_000),
        ],
    ),
    "a refused greeting with a bad token asks for another": (
        {"has_token": True},
        [
            (["start", 0], [state("token"), {"token": "connect"}]),
            (["token", "t1", 0], [state("opening"), OPEN]),
            (["opened", 0], [{"send": [{"id": 1, "connect": {"token": "t1"}}]}]),
            (
                ["received", {"id": 1, "error": {"code": "bad_token", "message": ""}}, 0],
                [{"close": 1000}, state("waiting", after_ms=375, code=0, reason="bad_token")],
            ),
        ],
    ),
    "who is known by a cookie need not say who it is": (
        {},
        [
            (["start", 0], [state("opening"), OPEN]),
            (["opened", 0], [{"send": [{"id": 1, "connect": {}}]}]),
            (["received", {"id": 1, "error": {"code": "conflict", "message": ""}}, 0], [state("connected", client=None, user=None)]),
        ],
    ),
    "a name is said with the greeting": (
        {"name": "Ada"},
        [(["start", 0], [state("opening"), OPEN]), (["opened", 0], [{"send": [{"id": 1, "connect": {"name": "Ada"}}]}])],
    ),
    "more channels than a frame holds commands are joined in several": (
        {},
        [
            *((["subscribe", f"public:{number}", 0], []) for number in range(220)),
            (["start", 0], [state("opening"), OPEN]),
            (["opened", 0], [{"send": [{"id": 1, "connect": {}}]}]),
            (
                ["received", {"id": 1, "connect": {"client": "c", "user": None, "expires_in": None, "ping_s": 25}}, 0],
                [
                    state("connected", client="c", user=None),
                    *(
                        {"send": [{"id": 2 + at, "subscribe": {"channel": f"public:{at}"}} for at in range(start, min(start + 100, 220))]}
                        for start in (0, 100, 200)
                    ),
                ],
            ),
        ],
    ),
    "silence is asked about and then taken for the end": (
        {},
        [
            *FOLLOWS,
            (["deadline"], 25_000),
            (["tick", 25_000], [{"send": [{"id": 3, "ping": {}}]}]),
            (["deadline"], 35_000),
            (["received", {"id": 3, "ping": {}}, 25_100], []),
            (["tick", 50_100], [{"send": [{"id": 4, "ping": {}}]}]),
            (["tick", 60_100], [{"close": 4006}, state("waiting", after_ms=375, code=4006, reason="silent")]),
        ],
    ),
    "who slept asks, and gives the answer its time": (
        {},
        [
            *FOLLOWS,
            (["tick", 85_000], [{"send": [{"id": 3, "ping": {}}]}]),
            (["deadline"], 95_000),
            (["tick", 85_001], []),
            (["received", {"id": 3, "ping": {}}, 85_100], []),
            (["deadline"], 110_100),
        ],
    ),
    "a connection is asked when somebody looks again": (
        {},
        [
            *FOLLOWS,
            (["wake", 3000], [{"send": [{"id": 3, "ping": {}}]}]),
            (["wake", 3001], []),
            (["deadline"], 13_000),
            (["tick", 13_000], [{"close": 4006}, state("waiting", after_ms=375, code=4006, reason="silent")]),
        ],
    ),
    "a connection that does not open in time is given up": (
        {},
        [
            (["start", 0], [state("opening"), OPEN]),
            (["tick", 15_000], [{"close": 4004}, state("waiting", after_ms=375, code=4004, reason="deadline")]),
            (["opened", 15_001], []),
        ],
    ),
    "a refused subscription is told and forgotten": (
        {},
        [
            *FOLLOWS[:4],
            (
                ["received", {"id": 2, "error": {"code": "forbidden", "message": ""}}, 0],
                [{"event": "left", "channel": LOBBY, "code": 0, "reason": "forbidden"}],
            ),
            (["received", pub(6), 1], []),
        ],
    ),
    "a subscription that is only too early is tried again": (
        {},
        [
            *FOLLOWS[:4],
            (["received", {"id": 2, "error": {"code": "rate_limited", "message": "", "retry_ms": 900}}, 0], []),
            (["deadline"], 900),
            (["tick", 900], [{"send": [{"id": 3, "subscribe": {"channel": LOBBY}}]}]),
        ],
    ),
    "who is put out for good stays out": (
        {},
        [
            *FOLLOWS,
            (
                ["received", {"unsub": {"channel": LOBBY, "code": 4301, "reason": "forbidden"}}, 1],
                [{"event": "left", "channel": LOBBY, "code": 4301, "reason": "forbidden"}],
            ),
        ],
    ),
    "who is put out for now comes back and recovers": (
        {},
        [
            *FOLLOWS,
            (["received", {"unsub": {"channel": LOBBY, "code": 4001, "reason": "unavailable"}}, 1], []),
            (
                ["tick", 376],
                [{"send": [{"id": 3, "subscribe": {"channel": LOBBY, "recover": {"offset": 5, "epoch": "e"}}}]}],
            ),
        ],
    ),
    "what is unsubscribed says nothing more": (
        {},
        [
            *FOLLOWS,
            (["unsubscribe", LOBBY, 1], [{"send": [{"id": 3, "unsubscribe": {"channel": LOBBY}}]}]),
            (["received", [pub(6), {"id": 3, "unsubscribe": {}}], 2], []),
        ],
    ),
    "stopping closes": (
        {},
        [*FOLLOWS, (["stop", 1], [{"close": 1000}, state("stopped", code=1000, reason="")]), (["closed", 1000, "", 2], [])],
    ),
}
