"""What a live stream holds in memory, beside the bytes that its viewers may still ask for."""

import http.client
import time
from pathlib import Path
from urllib.parse import urljoin

from bench.bench_latency import publishing
from bench.bench_rtmp import FORGET
from bench.method.results import Question, Sample
from bench.method.versus import Versus
from bench.servers.check import fetch
from bench.servers.nova import Nova

STREAMS = 20
ALLOWED_FACTOR, ALLOWED_BYTES = 1.25, 1_000_000


def window_bytes(port: int, stream: str) -> int:
    """Bytes of all media that the server owes to viewers of the stream: the segments and parts that its playlist names, and the segments
    that left the playlist and may still be asked for (RFC 8216bis, 6.2.2), found by asking for each. Parts in a whole segment count once.
    """
    multivariant = f"/live/{stream}/index.m3u8"
    lines = fetch(port, multivariant).decode().splitlines()
    media = urljoin(multivariant, next(line for line in lines if line and not line.startswith("#")))
    playlist = fetch(port, media).decode().splitlines()
    last = max((i for i, line in enumerate(playlist) if line.startswith("#EXTINF:")), default=-1)
    names = [line for line in playlist if line and not line.startswith("#")]
    first = int(names[0].removeprefix("seg-").removesuffix(".m4s"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def size(name: str) -> int | None:
        connection.request("HEAD", urljoin(media, name))
        response = connection.getresponse()
        response.read()
        return int(response.headers["Content-Length"]) if response.status == 200 else None

    names += [line.split('URI="')[1].split('"')[0] for line in playlist[last + 1 :] if line.startswith("#EXT-X-PART:")]
    total = sum(size(name) or 0 for name in names)  # None: the window has moved on meanwhile
    while (older := size(f"seg-{(first := first - 1)}.m4s")) is not None:
        total += older
    connection.close()
    return total


def bench_memory_per_stream(versus: Versus, ram: Path, smoke: bool, generator_core: int) -> None:
    count, settle_s = (3, 8) if smoke else (STREAMS, 30)

    def run() -> Sample:
        with Nova(ram / "nova", *FORGET) as nova:
            with publishing(nova, 1, 3, generator_core, ram / "frames"):
                time.sleep(4)
            time.sleep(4)  # what the first stream of a server loads and keeps is not what a stream costs
            empty = nova.memory()
            with publishing(nova, count, settle_s + 20, generator_core, ram / "frames") as streams:
                time.sleep(settle_s)  # the window is full, and what was taken for starting is given back
                held = (nova.memory() - empty) / count
                window = sum(window_bytes(nova.addresses["http"], stream) for stream, _ in streams) / count
        also = {"mb_per_stream": held / 1e6, "window_mb": window / 1e6, "empty_mb": empty / 1e6}
        return Sample(count, 0.0, settle_s, held / (ALLOWED_FACTOR * window + ALLOWED_BYTES), also)

    versus(
        Question(
            "memory-per-stream", f"memory of {STREAMS} live streams", "share of 1.25 x window + 1 MB", "lower", limits={"figure": 1.0}
        ),
        ours=run,
    )
