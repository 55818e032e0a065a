"""Every setting of Nova core: the one table behind TOML, environment, `--set`, `nova config`, validation and docs.

A row says what it does and why it has this default; limits say why they exist. Keep sections and rows sorted.
`docs/settings.md` is generated from here (`make docs`), a test compares it.
"""

# Annotations are read at import, so they stand unquoted: no `from __future__ import annotations` here.
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from nova.core.secret import Secret, SecretUrl
from nova.core.settings_schema import REQUIRED, Section, row
from nova.core.values import Address, ByteSize, Cidr, Rate, Seconds, Url


class Auth(Section):
    """Identity: tokens, users, sign-in."""

    audience: str = row("nova", "The `aud` that a token must carry, and that the embedded issuer writes.")
    cache_tokens: int = row(
        65536, "Verified tokens remembered by hash.",
        "A storm of 10,000 reconnects costs 1-2 s of a core without it; an entry takes about 300 bytes.",
        least=0, most=4_194_304,
    )
    guests: bool = row(True, "Whether a browser may take a name and chat without an account.")
    issuer: str = row("nova", "The `iss` that a token must carry, and that the embedded issuer writes.")
    jwks_refresh: Seconds = row(
        "5m", "How often the JWKS is fetched again.",
        "A key that was withdrawn stays valid for this long; an unknown key id fetches at once, but not more often than every 10 s.",
        least="10s", most="1d",
    )
    jwks_url: Url | None = row("off", "Where another issuer publishes its keys (JWKS).")
    keys: tuple[Path, ...] = row(
        [], "Files with keys of another issuer: PEM (the file's stem is the `kid`), or `.json` with a JWK or JWKS (HS256 secrets too).",
    )
    leeway: Seconds = row(
        "30s", "How far `exp` and `nbf` may be off.", "Clocks of well-kept machines differ by less.", least="0s", most="5m",
    )
    rotate_keys: Seconds = row(
        "90d", "How long a key of the embedded issuer signs; what it signed stays good.", "A copy that leaked unseen has an end.",
        least="1d", most="1000d",
    )
    session_ttl: Seconds = row("30d", "How long a browser session lasts.", "The cookie renews itself in use.", least="1m", most="400d")
    sign_in_ttl: Seconds = row(
        "15m", "How long a sign-in URL can be used, once.", "Long enough to walk to another device.", least="10s", most="1d",
    )
    token_ttl: Seconds = row(
        "1h", "Lifetime of a token of the embedded issuer when none is asked for.",
        "A stolen token is useless after it.", least="1s", most="365d",
    )


class Blobs(Section):
    """Where large immutable things are kept."""

    endpoint: Url | None = row("off", "Address of an S3-compatible service, when it is not Amazon's.")
    region: str = row("us-east-1", "Region of the bucket.")
    url: SecretUrl | None = row("off", "`s3://bucket/prefix`; off keeps files in the data directory. Credentials are where boto3 looks for them.")


class Bus(Section):
    """Topics, streams with cursors, and leases between the parts and processes of Nova core."""

    timeout: Seconds = row(
        "2s", "How long Redis may take to connect or to answer; after it, whoever waits is told `unavailable`.",
        "A publisher waits for it, and a Redis that is well answers in milliseconds. Leases of nodes last 10 s.",
        least="100ms", most="4s",
    )
    url: SecretUrl | None = row("off", "`redis://host:port/db`; off keeps it in this process.")
    window: int = row(
        65536, "Events kept per topic for a consumer that comes back.",
        "A consumer that was away for longer is told of the gap; at 1 KiB an event this is 64 MiB at most.",
        least=16, most=16_777_216,
    )


class CdnKey(Section):
    """One key of a site's signed URLs (`signing_keys = [{id = "2026-1", secret = "file:…"}]`)."""

    id: str = row(REQUIRED, "What a token or `Key-Pair-Id` names: `[A-Za-z0-9_-]`, at most 32.")
    private: Path | None = row("off", "Private key (PEM) with which `/v1/cdn/urls` signs as CloudFront does.")
    public: Path | None = row("off", "Public key (PEM) for CloudFront's URLs and cookies: RSA of 2048 bits or more, or ECDSA P-256.")
    secret: Secret | None = row("off", "Secret of tokens (HMAC-SHA256), 16 bytes or more.")


class CdnOrigin(Section):
    """One origin of a site (`origins = [{url = "http://…"}]`)."""

    backup: bool = row(False, "Asked only when every origin that is no backup has failed.")
    breaker_failures: int = row(
        5, "Failures in a row after which it is left alone for a while.", "One lost connection is no sign, five are.", least=1, most=1000,
    )
    breaker_wait: Seconds = row(
        "1s", "How long it is left alone at first; doubled, up to 30 s, while the trial that follows fails.",
        "A restart takes about that long.", least="50ms", most="30s",
    )
    connect_timeout: Seconds = row(
        "1s", "How long a connection to it may take, its TLS handshake included.", "Origins are near; a black hole costs no more than this.",
        least="10ms", most="1m",
    )
    first_byte_timeout: Seconds = row("15s", "How long the head of its answer may take, from when the request is sent.", "Slow pages exist; viewers leave later than that.", least="10ms", most="10m")
    health_interval: Seconds = row("5s", "Time between two probes of `health_path`.", "One request in five seconds costs nothing.", least="100ms", most="1h")
    health_path: str | None = row("off", "Path that is asked to see whether it is well: any 2xx or 3xx is. Off: only its answers to requests count.")
    idle_timeout: Seconds = row("15s", "How long its answer may pause.", "As for clients that send.", least="10ms", most="10m")
    keep_alive: Seconds = row("55s", "How long an idle connection to it is kept.", "Many servers close after 60 s.", least="0s", most="1h")
    lookup_interval: Seconds = row(
        "10s", "How long the addresses of a name serve before it is looked up again; 0s: for one connection.",
        "The system's resolver tells no time to live; a name that moves is followed within seconds, and at once when no address of it answers.",
        least="0s", most="1h",
    )
    max_connections: int = row(256, "Connections to it at once.", "As `fetch_slots`.", least=1, most=100_000)
    max_idle: int = row(64, "Idle connections to it that are kept.", "Enough for a burst, and few descriptors.", least=0, most=100_000)
    s3_key_id: Secret | None = row("off", "Access key id; off: as boto3 finds one (environment, profile, role).")
    s3_region: str | None = row("off", "Requests are signed for S3 (SigV4) in this region, by botocore; off: it is no S3 origin.")
    s3_secret: Secret | None = row("off", "Secret access key of `s3_key_id`.")
    tls_ca: Path | None = row("off", "Authorities (PEM) that its certificate may come from; off: those of the system.")
    tls_name: str | None = row("off", "Name that its certificate must have, and that is asked for; off: the host of its URL.")
    url: Url = row(REQUIRED, "Its address: scheme, host, port, and a path that is put before the request's.")
    weight: int = row(1, "Its share of requests beside others of its kind.", least=1, most=1000)


class CdnSite(Section):
    """One site (`[[cdn.sites]]`): where it is asked, where it comes from, and what is kept of it."""

    client_rate: Rate | None = row("off", "Requests that one address may make of the origin side of this site; hot answers do not count.")
    compress: bool = row(
        True, "Whether texts of 1 KiB to 8 MiB that came unencoded are kept compressed too, once for each encoding.",
        "An answer that says no-transform, or that has an encoding, stays as it is.",
    )
    fetch_queue: int = row(
        2000, "Fetches that may wait for a slot; one more is answered 503.", "A second of work of a busy origin.", least=0, most=1_000_000,
    )
    fetch_slots: int = row(
        256, "Fetches from the site's origins at once.", "The pools of common origins take a few hundred connections.", least=1, most=100_000,
    )
    heuristic: float = row(
        0.1, "Share of an answer's age since Last-Modified for which it is fresh when nothing else says how long; 0: none.",
        "RFC 9111, 4.2.2 names a tenth as typical.", least=0.0, most=1.0,
    )
    heuristic_most: Seconds = row("1d", "The longest heuristic freshness.", "An answer without any word about it is looked at once a day.", least="0s", most="365d")
    host: Literal["client", "origin"] = row("client", "The Host that the origin gets: the client's, or that of the origin's URL.")
    listen: Address | None = row("off", "A listener of its own, on which every method and path goes to the origins through the cache.")
    max_object: ByteSize = row(
        "1GiB", "Largest object that is kept; larger ones pass.", "One object must not push everything else out.", least="1KiB", most="1TiB",
    )
    max_wait: Seconds = row(
        "30s", "How long a request waits for another one's fetch of the same object.", "As the deadlines of an origin together.", least="100ms", most="10m",
    )
    hedge_after: Seconds | None = row(
        "500ms", "After this long without a first byte a second origin is asked too, and the first answer counts; off: never. "
        "Once enough answers were seen, their 95th percentile counts instead, when it is shorter.",
        "A stalled origin costs half a second, and hedges share the retry budget.", least="1ms", most="1m",
    )
    name: str = row(REQUIRED, "Its name: `[a-z0-9-]`, at most 32.")
    negative_backoff: Seconds = row(
        "1s", "How long a failed fetch of an object is remembered; doubled with every further failure.",
        "Who asks meanwhile gets the stale object or the failure, and the origin is left alone.", least="0s", most="1m",
    )
    negative_backoff_most: Seconds = row("30s", "The longest time for which a failure is remembered.", "A recovered origin is seen within it.", least="0s", most="10m")
    negative_ttl: Seconds = row(
        "10s", "How long 404 and 410 are kept when nothing says how long.", "A flood for a missing name costs the origin one request in ten seconds.",
        least="0s", most="1h",
    )
    origins: tuple[CdnOrigin, ...] = row(REQUIRED, "Where it comes from.")
    prefix: str | None = row("off", "`/cdn/s/<name>/` serves it on the main listener too: without cookies, sandboxed.")
    redirects: int = row(
        0, "Redirects of an origin that are followed here (GET and HEAD); 0: they go to the client.",
        "Followed only to public addresses and to hosts of `origins`.", least=0, most=10,
    )
    request_directives: bool = row(
        False, "Whether Cache-Control and Pragma of requests count (RFC 9111, 5.2.1).", "Else any client could make every request go to the origin.",
    )
    retry_burst: int = row(10, "Retries and hedges that are always possible, whatever their share.", "A quiet site must survive the loss of an origin too.", least=0, most=10_000)
    retry_ratio: float = row(
        0.1, "Retries and hedges in relation to requests, at most; connections that failed do not count.",
        "An origin in trouble must not get several times its load.", least=0.0, most=1.0,
    )
    retry_statuses: tuple[int, ...] = row([502, 503, 504], "Statuses after which another origin is asked.", "They say that this origin cannot, not that there is nothing.")
    shield: tuple[Url, ...] = row(
        [], "Addresses of this site on the nodes that stand before its origins: each object is asked of one of them, and of the origins when none answers.",
    )
    signing: Literal["off", "token", "cloudfront", "any"] = row("off", "What every request needs: one of our tokens, a CloudFront signature, either, or nothing.")
    signing_keys: tuple[CdnKey, ...] = row([], "Keys that signatures are checked with; the last one that can signs.")
    signing_leeway: Seconds = row("0s", "How far times of tokens and signatures may be off.", "Who signs can allow for it.", least="0s", most="5m")
    signing_url: Url | None = row("off", "Scheme and host under which viewers know this site, as CloudFront signatures name it; off: as the request says.")
    slice_size: ByteSize = row(
        "8MiB", "Ranges of objects that are not here are fetched and kept in slices of this size; 0: never.",
        "A seek in a film fetches a slice, not the film.", least="0B", most="256MiB",
    )
    stale_if_error: Seconds = row(
        "1d", "How long a stale answer stands in for a failing origin, unless the answer says otherwise.", "An old page is better than none.", least="0s", most="365d",
    )
    stale_while_revalidate: Seconds = row(
        "0s", "How long a stale answer is served while a new one is fetched, unless the answer says otherwise.", "Only who knows the content can say.",
        least="0s", most="365d",
    )
    vary_most: int = row(
        64, "Variants of one object by Vary; above it those that are used least go first.", "A field that differs for every client fills the cache with single answers.",
        least=1, most=100_000,
    )


class Cdn(Section):
    """Sites that are fetched from elsewhere and kept near."""

    disk: ByteSize = row("0B", "Bytes that objects may take in `<data>/cdn`; 0: memory only.", "A disk is worth its place when origins are slow or dear.", least="0B", most="1PiB")
    edge: str | None = row("off", "Name of this node among the edges; off: the host name and its port.")
    memory: ByteSize = row("256MiB", "Bytes of memory that the CDN may hold: objects, results of pictures, bodies that come, and what slow readers still take.", "A quarter of a small machine.", least="1MiB", most="1TiB")
    policy: Literal["s3fifo", "lru", "sieve", "fifo"] = row("s3fifo", "What goes first when a tier is full.", "Best or close to it on most published traces, and a hit moves nothing.")
    region: str = row("local", "Where this node stands, as `/v1/cdn/edges` shows it.")
    sites: tuple[CdnSite, ...] = row([], "The sites, each a table `[[cdn.sites]]`.")


class Data(Section):
    """What this server keeps on its disk."""

    dir: Path = row("nova-data", "The data directory (mode 0700, locked by the server). `--data` sets it.")


class GrpcTls(Section):
    """Mutual TLS of the gRPC listener; all three or none."""

    cert: Path | None = row("off", "Certificate chain (PEM).")
    client_ca: Path | None = row("off", "Authority (PEM) that a client's certificate must come from.")
    key: Path | None = row("off", "Private key (PEM).")


class Grpc(Section):
    """The gRPC listener."""

    insecure: bool = row(False, "Allow a listener off loopback without mTLS: for a network that is trusted whole.")
    listen: Address | None = row("127.0.0.1:50051", "Where gRPC listens.")
    max_message: ByteSize = row(
        "4MiB", "Largest message taken.", "grpc's own default; bulk goes over HTTP.", least="4KiB", most="64MiB",
    )
    threads: int = row(
        16, "Threads that serve calls.",
        "Each call in flight holds one; 16 more for each may wait, those above are refused with RESOURCE_EXHAUSTED.",
        least=1, most=256,
    )
    tls: GrpcTls


class H3(Section):
    """HTTP/3, on the UDP port of the same number as `https.listen`."""

    connections: int = row(
        2048, "Connections open at once.", "One takes about 100 KiB at rest; beyond it browsers use HTTP/2.", least=1, most=1_000_000,
    )
    cpu_percent: int = row(
        50, "Share of the control plane's thread that HTTP/3 may take.",
        "It is the dearest path per byte, and the same thread writes the parts of live streams.", least=5, most=100,
    )
    datagram: ByteSize = row(
        "1350B", "Largest datagram sent.", "Passes through tunnels within 1400; larger ones are cheaper per byte where the network takes them.",
        least="1200B", most="65000B",
    )
    enabled: bool = row(True, "Whether it is served at all.", "Nothing is loaded before the first datagram comes.")
    retry: bool = row(
        True, "Whether a new client proves its address first (Retry).",
        "Costs it one round trip; without it, forged addresses make the server compute handshakes for nobody.",
    )
    streams: int = row(100, "Requests of one connection at once.", "What browsers expect at least (RFC 9114, 6.1).", least=1, most=10_000)
    unsent: ByteSize = row(
        "4MiB", "Bytes of answers that one connection may hold until the client has acknowledged them; then the application waits.",
        "Sixteen stalled answers of 256 KiB each; more than a fast network has on its way.", least="256KiB", most="64MiB",
    )


class Http(Section):
    """HTTP/1.1 and WebSocket, and what all HTTP listeners share."""

    body_timeout: Seconds = row(
        "10s", "How long a request's body may stall.", "Holds no memory for a peer that fell silent.", least="1s", most="10m",
    )
    cors_origins: tuple[str, ...] = row([], "Origins that may call `/v1` from a browser, beside our own.")
    forwarded: Literal["auto", "forwarded", "x-forwarded"] = row(
        "auto", "Which headers `http.trusted_proxies` write; auto: whichever is there.",
        "When both are there and disagree, a client may have made up one of them: then neither counts.",
    )
    head_timeout: Seconds = row(
        "10s", "How long a request's head may take.", "A client that dribbles its head is gone after it.", least="1s", most="2m",
    )
    hosts: tuple[str, ...] = row(
        [], "Host names under which a cookie counts; empty: our addresses, localhost and the public URL.",
        "A page of another name that resolves to us (DNS rebinding) cannot use the browser's session.",
    )
    keep_alive: Seconds = row(
        "75s", "How long an idle connection stays open.", "Players ask every few seconds, browsers reuse for a minute.",
        least="1s", most="1h",
    )
    listen: Address | None = row("127.0.0.1:8080", "Where HTTP/1.1 and WebSocket listen.")
    max_body: ByteSize = row(
        "1MiB", "Largest body of an API request.", "Uploads have limits of their own.", least="1KiB", most="64MiB",
    )
    max_head: ByteSize = row(
        "32KiB", "Largest request head; above it 431.", "Cookies and tokens of real clients stay below 16 KiB.",
        least="1KiB", most="256KiB",
    )
    proxy_protocol: bool = row(
        False, "Whether the addresses of `http.trusted_proxies` open each connection with a PROXY protocol header.",
        "Guessing it would let a peer choose its own address.",
    )
    public_url: Url | None = row("off", "Base of every absolute http URL given out; off: the request's Host, else the listener.")
    reader_least_rate: ByteSize = row(
        "4KiB", "Bytes a second that a client must take of an answer, or give of a body, looked at every `http.body_timeout`; 0 switches it off.",
        "A reader that takes nothing pins the bytes of its answer.", least="0B", most="1MiB",
    )
    trusted_proxies: tuple[Cidr, ...] = row([], "Networks that are believed for `Forwarded` and `X-Forwarded-*`; nobody else is.")


class Https(Section):
    """HTTPS: h1 and h2 over TCP, h3 over UDP."""

    advertise_h3: bool = row(False, "Offer HTTP/3 by Alt-Svc.", "It is the dearest path per byte.")
    cert: Path | None = row("off", "Certificate chain (PEM); off: a self-made one for localhost and the host name.")
    handshake_timeout: Seconds = row("10s", "How long a TLS handshake may take.", "As a request's head.", least="1s", most="2m")
    key: Path | None = row("off", "Private key (PEM).")
    listen: Address | None = row("127.0.0.1:8443", "Where HTTPS listens.")


class Images(Section):
    """Pictures: what is read, what is made, who may ask."""

    keys: tuple[Secret, ...] = row(
        [],
        "Keys that sign picture URLs, as `id:key`, `id:hex:…` or `id:base64:…`; the first one signs, all are good. Empty: one in the data directory.",
        "To replace a key, put the new one first and take the old one away when its URLs have had their time.",
    )
    max_file: ByteSize = row(
        "32MiB", "Largest picture taken.", "A camera's largest JPEG; a scan of 50 megapixels.", least="64KiB", most="1GiB"
    )
    max_frames: int = row(500, "Most frames of an animation.", "Each is decoded and encoded; 500 are half a minute.", least=1, most=10_000)
    max_pixels: int = row(
        50_000_000,
        "Most pixels of a picture.",
        "Decoded, each takes three or four bytes; above every phone's camera but the largest.",
        least=10_000,
        most=1_000_000_000,
    )
    max_total_pixels: int = row(
        200_000_000,
        "Most pixels of all frames of an animation.",
        "A hundred frames of 1080p.",
        least=10_000,
        most=10_000_000_000,
    )
    offer: tuple[Literal["avif", "webp"], ...] = row(
        ["avif", "webp"],
        "Formats for clients that name them in Accept, the best first.",
        "AVIF at our speed costs about as much as WebP and a fourth fewer bytes.",
    )
    per_user: int = row(100_000, "Pictures that one user may keep.", "Bounds the store against a loop.", least=1, most=100_000_000)
    queue: int = row(
        64,
        "Pictures that wait for a worker process; one more is refused with Retry-After.",
        "Two seconds of work for two processes.",
        least=1,
        most=10_000,
    )
    sources: tuple[Url, ...] = row(
        [],
        "Addresses below which pictures from elsewhere may be served, by signed URLs only.",
        "A name must resolve to public addresses; an address written as numbers may be private, since you wrote it.",
    )
    worker_memory: ByteSize = row(
        "1GiB",
        "Address space of a worker process.",
        "50 megapixels with alpha, twice, and the libraries.",
        least="256MiB",
        most="64GiB",
    )
    worker_time: Seconds = row(
        "10s",
        "Time that one picture may take, of a processor and of the clock.",
        "A hundred times what a large one takes.",
        least="1s",
        most="5m",
    )
    workers: int = row(
        0, "Worker processes that decode pictures; 0: one for each core.", "More than the cores gain nothing.", least=0, most=256
    )


class Limits(Section):
    """Bounds on what one address, one user or everybody may take."""

    api_rate: Rate = row(
        "100/s", "API requests per user, or per address without one.", "An app at work makes a few a second; a loop is told to wait.",
    )
    connections: int = row(
        0, "Connections open at once, all listeners together; 0: nine tenths of RLIMIT_NOFILE.",
        "The rest of the descriptors is for files, stores and neighbours.", least=0, most=10_000_000,
    )
    connections_per_address: int = row(
        1024, "Connections open at once from one address.", "A large office behind one address stays below.", least=1, most=10_000_000,
    )
    exempt: tuple[Cidr, ...] = row(
        ["127.0.0.0/8", "::1/128"],
        "Networks freed from per-address, admission and key-guess limits, never from limits of size, time or memory.",
        "Everything listens on loopback by default, where one address is everybody.",
    )
    idempotency_ttl: Seconds = row("1d", "How long the answer to an `Idempotency-Key` is kept.", "Outlasts a client's retries.", least="1m", most="7d")
    key_guesses: Rate = row(
        "10/min", "Wrong stream keys from one address before it is refused unseen.",
        "A key has at least 128 bits; this keeps the log readable and the processor free.",
    )
    keys_per_stream: int = row(20, "Stream keys that one stream may have.", "One for each encoder, and some that are being replaced.", least=1, most=1000)
    pinned_bytes: ByteSize = row(
        "512MiB", "Bytes that nobody but slow readers may hold, all together; above it those that began first are cut.",
        "Bounds the memory that viewers cost when many networks stall at once.", least="1MiB", most="1TiB",
    )
    publishers: int = row(
        1000, "Streams published at once.", "About ten times what one machine of 16 cores can mux.", least=1, most=1_000_000,
    )
    sign_in_attempts: Rate = row("10/min", "Sign-in codes that one address may try.", "A code has 128 bits; the limit keeps guessing visible.")
    streams_per_user: int = row(1000, "Streams that one user may keep.", "Bounds the store against a loop.", least=1, most=10_000_000)


class Live(Section):
    """From a publisher's frames to parts, segments and playlists."""

    ended_linger: Seconds = row(
        "60s", "How long an ended stream is still served.", "Players that are behind see its end; its playlist says that nothing follows.",
        least="0s", most="1h",
    )
    max_bitrate: ByteSize = row(
        "8MiB", "Bytes a second of its own time that a publisher may send, on average over 5 s; above it the publisher is ended.",
        "67 Mbit/s: above every preset of OBS.", least="64KiB", most="128MiB",
    )
    max_segment: ByteSize = row(
        "32MiB", "Bytes after which a segment is cut at any frame.", "128 Mbit/s over 2 s; bounds what one stream keeps in memory.",
        least="1MiB", most="512MiB",
    )
    part_target: Seconds = row(
        "200ms", "Length of a part (PART-TARGET).", "Six players a second ask anew for each; shorter gains no latency over real networks.",
        least="50ms", most="2s",
    )
    playlist_timeout_targets: int = row(
        3, "A blocked playlist request is answered 503 after this many target durations.",
        "RFC 8216bis section 6.2.5.2 asks for three.", least=1, most=10,
    )
    reconnect_grace: Seconds = row(
        "30s", "How long a stream whose publisher vanished stays `reconnecting`.", "OBS tries again after 2 to 10 s.",
        least="0s", most="10m",
    )
    segment_target: Seconds = row(
        "2s", "A segment is closed at the first IDR frame after this long.", "The usual distance of key frames.",
        least="500ms", most="10s",
    )
    session_ttl: Seconds = row("6h", "Lifetime of a viewer's signed session prefix.", "Longer than a broadcast; a join renews it.", least="1m", most="7d")
    target_duration: Seconds = row(
        "4s", "TARGETDURATION of every media playlist; never changes while a stream lives.",
        "Room for publishers whose key frames come every 3 to 4 s; a later one is cut at any frame.", least="1s", most="30s",
    )
    timeline_gap: Seconds = row(
        "1s", "A step of the publisher's clock above this is cut with a discontinuity.",
        "Below it a track is late or a frame was dropped; above it the clock was set anew.", least="100ms", most="30s",
    )
    track_timeout: Seconds = row(
        "10s", "A track that stays away for this long is left out, with a discontinuity.",
        "Encoders that drop pictures until the next key frame come back well before.", least="1s", most="2m",
    )
    track_wait: Seconds = row(
        "1s", "How long the first track waits for the other one, when the publisher did not announce which there are.",
        "Publishers send both headers before the first frame.", least="0s", most="10s",
    )
    viewer_window: Seconds = row("10s", "A session counts as a viewer for this long after its last request.", "Twice the longest time between two requests of a player that plays.", least="1s", most="5m")
    window_segments: int = row(
        15, "Segments kept in memory: n in the playlist, the one under way, and n + 2 for players with an older playlist.",
        "RFC 8216bis, 6.2.2: a playlist spans three target durations (n = 6 at 2 s), and what leaves it stays for as long again.",
        least=5, most=1000,
    )
    writer: Literal["compiled", "pyav"] = row("compiled", "What writes fMP4 for H.264 and AAC.", "The compiled one costs half; PyAV is its oracle.")


class Log(Section):
    """What is written to stderr."""

    format: Literal["auto", "console", "json"] = row("auto", "`auto`: console on a terminal, else JSON lines.")
    level: Literal["debug", "info", "warning", "error"] = row("info", "The least level that is written.")
    sample: int = row(
        100, "Of events that come with each request or message, one in this many is written.",
        "10,000 messages a second would be 10,000 lines.", least=1, most=1_000_000,
    )


class Reactor(Section):
    """The I/O threads that own the sockets."""

    backlog: int = row(4096, "Length of the accept queue.", "A burst of 2,000 connects must not drop a SYN.", least=16, most=65535)
    command_ring: ByteSize = row("4MiB", "Room for commands from trio to one I/O thread; full: the caller waits.", "The commands of one turn of trio's loop with 10,000 connections; bodies go by reference.", least="256KiB", most="1GiB")
    event_ring: ByteSize = row(
        "8MiB", "Room for events from one I/O thread to trio.",
        "Full: the thread reads no sockets that need Python until half of it is free. Two requests with the largest heads must fit.",
        least="2MiB", most="1GiB",
    )
    threads: int = row(
        0, "I/O threads; 0: one for each core, less one for trio, but at least one and at most 16.", "More than the cores gain nothing.",
        least=0, most=16,
    )
    uring: bool | None = row(
        "auto", "Whether fan-out sends by io_uring; auto: where the kernel, and a container's seccomp profile, allow it.",
        "One system call for hundreds of sockets. `nova check` says whether it is there; without it the same bytes go by send().",
    )


class Realtime(Section):
    """Channels over WebSocket, SSE and HTTP, and the chat of streams."""

    address_rate: Rate = row(
        "200/s", "Publications from one address to all channels together.", "A shared network's people chat below it; a script is told to wait.",
    )
    channels: int = row(
        100_000, "Channels in use at once; one that nobody reads and that keeps nothing is forgotten after a minute.",
        "Names come from clients: some 2 KiB each.", least=16, most=10_000_000,
    )
    chat_comments: int = row(10_000, "Comments of one stream that stay in the store.", "Older ones go, newest first out of the list.", least=100, most=10_000_000)
    chat_words: tuple[str, ...] = row([], "A comment with one of these words is refused (`text_refused`); case does not matter.")
    command_rate: Rate = row(
        "500/s", "Commands of one user, or of one address without a token: subscribe, publish, history, presence.",
        "A client that comes back to 128 channels sends that many at once.",
    )
    connect_rate: Rate = row(
        "2000/s", "New connections of readers, over WebSocket and over SSE with WebSockets over h2 and h3: each that many; "
        "those above it are told when to come again.",
        "After a restart everybody comes at once: a queue instead of a storm.",
    )
    connect_timeout: Seconds = row(
        "10s", "How long a client without a token in the URL may wait with `connect`.", "A phone's slow start fits; who says nothing holds a socket.",
        least="1s", most="5m",
    )
    connection_channels: int = row(
        128, "Channels that one connection may follow.", "A client's tabs and rooms; a scraper opens more connections and is counted there.",
        least=1, most=1024,
    )
    deflate: bool = row(
        False, "Agree to compression on `/v1/ws` over HTTP/1.1 (permessage-deflate without context, once for all readers of a message).",
        "A message below 256 bytes grows by it, and the thread that sends pays; long ones on slow lines gain.",
    )
    echo: bool = row(False, "Serve `/v1/echo`, a WebSocket that returns every message: for measurements.")
    history_bytes: ByteSize = row(
        "256MiB", "Bytes that all channels together may keep; above it the channels used longest ago keep nothing.",
        "A channel keeps 2 MiB at most, unless its namespace says otherwise.", least="1MiB", most="1TiB",
    )
    hook_asks: tuple[str, ...] = row([], "What the backend of `realtime.hook_url` is asked about: `connect`, `subscribe`, `publish`.")
    hook_fallback: Literal["deny", "allow"] = row("deny", "What happens when the backend does not answer in time.", "A gate whose guard is away stays shut.")
    hook_secret: Secret | None = row("off", "Secret that signs the questions to the backend (Standard Webhooks, `whsec_…`).")
    hook_timeout: Seconds = row("2s", "How long the backend may take.", "A person waits for it.", least="10ms", most="1m")
    hook_url: Url | None = row("off", "A backend that is asked before clients connect, subscribe or publish.")
    lifetime: Seconds = row(
        "1d", "How long a connection lives at most; each up to a tenth shorter, and told by `bye` when to come back.",
        "Spreads clients over new nodes, and no connection outlives what it was allowed by long.", least="1m", most="30d",
    )
    namespaces: tuple[str, ...] = row(
        [], "Rules of namespaces, one a line: `room subscribe=user publish=user history=200 ttl=1h rate=10/s`; "
        "lines for `stream`, `user` and `public` change the built-in rows ([realtime.md](realtime.md)).",
    )
    ping: Seconds = row(
        "25s", "How often a connection is pinged; clients are told (`ping_s`).", "Proxies forget a quiet connection after 30 s to 60 s.",
        least="1s", most="10m",
    )
    public: bool | None = row("auto", "Whether `public:*` may be published to without a token; auto: only while http listens on loopback.")
    reconnect_window: Seconds = row(
        "5s", "Over how long the returns of clients are spread that the server sends away when it ends.",
        "Ten thousand clients come back at the pace of `connect_rate`.", least="100ms", most="10m",
    )
    silence: Seconds = row(
        "1m", "A connection from which nothing comes for so long, no pong either, is closed; longer than `ping`.",
        "Two pings may be lost.", least="2s", most="30m",
    )


class Rtmp(Section):
    """RTMP ingest and play."""

    chunk_size: ByteSize = row("4KiB", "Chunk size that we send with.", "What OBS and ffmpeg use; a frame in few chunks.", least="128B", most="1MiB")
    handshake_timeout: Seconds = row(
        "5s", "How long an RTMP handshake may take.", "Three small messages; whoever needs longer is no encoder.", least="1s", most="2m",
    )
    hook_secret: Secret | None = row("off", "Secret of the hooks `/v1/rtmp/auth` and `/v1/rtmp/done` of another RTMP server; off refuses them.")
    idle_timeout: Seconds = row(
        "30s", "A publisher that sends nothing for this long is closed.", "Half-open TCP; OBS sends audio many times a second.", least="1s", most="10m",
    )
    listen: Address | None = row("127.0.0.1:1935", "Where RTMP listens.")
    max_chunk_streams: int = row(
        64, "Chunk streams that one peer may interleave.", "Publishers use 4 to 8; each may hold a message under way.", least=4, most=1024,
    )
    max_message: ByteSize = row(
        "16MiB", "Largest message; above it the connection ends.", "Key frames of OBS stay far below; the format's own limit is 16 MiB - 1.",
        least="64KiB", most="16MiB",
    )
    play_window: ByteSize = row(
        "8MiB", "Bytes of a stream kept for RTMP players that lag; one that falls out goes on at a key picture.",
        "Ten seconds of a stream of 6 Mbit/s; taken only by streams that somebody plays over RTMP.", least="256KiB", most="1GiB",
    )
    public_url: Url | None = row("off", "Base of every RTMP URL given out; off: the request's host with the listener's port.")
    publish_timeout: Seconds = row(
        "10s", "Time from accept to an accepted publish or play.", "A peer that connects and stays silent is gone after it.", least="1s", most="2m",
    )
    window_ack: ByteSize = row("2500000B", "Window acknowledgement size that we ask for.", "What Flash Media Server sent; peers know it.", least="16KiB", most="1GiB")


class Rtmps(Section):
    """RTMP over TLS."""

    cert: Path | None = row("off", "Certificate chain (PEM); off: that of https.")
    key: Path | None = row("off", "Private key (PEM).")
    listen: Address | None = row("off", "Where RTMPS listens.")


class Shutdown(Section):
    """How the server ends."""

    grace: Seconds = row("10s", "Time in which what is in flight may end by itself.", "Kubernetes kills after 30 s.", least="0s", most="10m")


class Store(Section):
    """Where cold state is kept."""

    url: SecretUrl | None = row("off", "`postgresql://…` in a later version; off: SQLite in the data directory.")


class Uploads(Section):
    """Resumable uploads (tus 1.0.0)."""

    keep: Seconds = row(
        "1d",
        "How long an upload that does not go on is kept, and how long its state can be read after its end.",
        "A phone that lost its network goes on the next morning.",
        least="1m",
        most="30d",
    )
    max_size: ByteSize = row("4GiB", "Largest upload.", "An hour of 1080p.", least="1MiB", most="1TiB")
    per_user: int = row(50, "Unfinished uploads of one user.", "A phone sends a whole album at once.", least=1, most=100_000)
    scanner: tuple[str, ...] = row(
        [],
        "A program that looks at every finished upload, with its arguments; the file's path is appended. Exit code 0: clean, 1: refused.",
        "`clamdscan --fdpass --no-summary` answers so.",
    )
    scanner_timeout: Seconds = row(
        "1m", "How long the scanner may take; later it counts as failed, and the upload with it.", "A large video.", least="1s", most="1h"
    )
    user_bytes: ByteSize = row(
        "16GiB",
        "Bytes that the unfinished uploads of one user may announce, together.",
        "Bounds the disk against one account.",
        least="1MiB",
        most="100TiB",
    )


class Settings(Section):
    """Everything, by section."""

    auth: Auth
    blobs: Blobs
    bus: Bus
    cdn: Cdn
    data: Data
    grpc: Grpc
    h3: H3
    http: Http
    https: Https
    images: Images
    limits: Limits
    live: Live
    log: Log
    reactor: Reactor
    realtime: Realtime
    rtmp: Rtmp
    rtmps: Rtmps
    shutdown: Shutdown
    store: Store
    uploads: Uploads


def contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """What no row can see alone: pairs of key and remedy."""
    live, grpc = settings.live, settings.grpc
    if live.part_target > live.segment_target:
        yield "live.part_target", "a part may not be longer than a segment: lower it, or raise live.segment_target"
    if live.segment_target > live.target_duration:
        yield "live.segment_target", "a segment may not be longer than live.target_duration: lower it, or raise that"
    if (live.window_segments - 3) // 2 * live.segment_target < 3 * live.target_duration:
        yield "live.window_segments", (
            "(window_segments - 3) / 2 segments must span three target durations (RFC 8216bis section 6.2.2): "
            "raise it, or lower live.target_duration"
        )
    for section, name in ((settings.https, "https"), (settings.rtmps, "rtmps")):
        if (section.cert is None) != (section.key is None):
            yield f"{name}.cert", f"{name}.cert and {name}.key go together: set both or none"
    tls = (grpc.tls.cert, grpc.tls.key, grpc.tls.client_ca)
    if any(tls) and not all(tls):
        yield "grpc.tls.cert", "grpc.tls.cert, grpc.tls.key and grpc.tls.client_ca go together: set all or none"
    if grpc.listen is not None and not grpc.listen.loopback and not all(tls) and not grpc.insecure:
        yield "grpc.listen", (
            "gRPC off loopback needs mTLS: set grpc.tls.cert, grpc.tls.key and grpc.tls.client_ca, or grpc.insecure = true"
        )
    names = [site.name for site in settings.cdn.sites]
    for site in settings.cdn.sites:
        key = "cdn.sites"
        if not re.fullmatch("[a-z0-9-]{1,32}", site.name):
            yield key, f"the name {site.name!r} is not one: [a-z0-9-], at most 32"
        elif names.count(site.name) > 1:
            yield key, f"two sites are called {site.name}"
        for origin in site.origins:
            if (origin.s3_key_id is None) != (origin.s3_secret is None):
                yield key, f"an origin of the site {site.name} has one of s3_key_id and s3_secret: set both or none"
        for signer in site.signing_keys:
            if not re.fullmatch("[A-Za-z0-9_-]{1,32}", signer.id) or [each.id for each in site.signing_keys].count(signer.id) > 1:
                yield key, f"the signing key id {signer.id!r} of the site {site.name} is used twice, or is not 1 to 32 of A-Z a-z 0-9 _ -"
            elif signer.secret is None and signer.public is None and signer.private is None:
                yield key, f"the signing key {signer.id} of the site {site.name} has no secret, public or private"
            elif signer.secret is not None and len(signer.secret.reveal()) < 16:
                yield key, f"the secret of the signing key {signer.id} of the site {site.name} is shorter than 16 bytes"
        if site.signing == "cloudfront" and not any(signer.public or signer.private for signer in site.signing_keys):
            yield key, f"the site {site.name} takes CloudFront signatures and has no key for them: signing_keys with public or private"
        if not site.origins:
            yield key, f'the site {site.name} has no origin: origins = [{{url = "http://…"}}]'
        if site.prefix not in (None, f"/cdn/s/{site.name}/"):
            yield key, f'the prefix of the site {site.name} can only be "/cdn/s/{site.name}/"'
        if site.listen is None and site.prefix is None:
            yield key, f"the site {site.name} is served nowhere: give it listen, prefix, or both"
    if len(names) > 48:
        yield "cdn.sites", "at most 48 sites: each may have a listener, and the reactor has 64"
    if settings.http.proxy_protocol and not settings.http.trusted_proxies:
        yield "http.proxy_protocol", "it needs http.trusted_proxies: name the networks of your proxies there"
