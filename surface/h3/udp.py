"""The UDP socket of HTTP/3. Loads nothing else, so that it can be open before aioquic is there.

Datagrams of one size to one peer go to the kernel in one call (UDP_SEGMENT, Linux 4.18), which cuts them apart again. A socket on all
addresses answers from the one that was asked, where the kernel would choose by its routes: there a peer is (host, port, our address),
else (host, port).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

BUFFER: Final = 2 << 20  # bytes asked of the kernel each way, which gives what net.core.rmem_max allows: a slice's worth of bursts
NEVER_FRAGMENT: Final = 2  # IP_PMTUDISC_DO
UDP_SEGMENT: Final = 103
IP_PKTINFO: Final = 8
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
DATAGRAM: Final = 65_536  # bytes; what one receive takes
WILD: Final = ("0.0.0.0", "::")
SEGMENTS: Final = 44  # of 1350 bytes: what fits a datagram's 64 KiB; the kernel's own limit is 64
SEGMENTED: Final = 60_000  # bytes of one call


def runs(datagrams: Iterable[tuple[bytes, Any]]) -> Iterator[tuple[bytes, int, Any]]:
    """Runs of datagrams that may go together: all but the last of a run have one size, the last is no longer. Bytes, that size (0: it is
    one datagram), peer."""
    run: list[bytes] = []
    total, to = 0, None
    for data, peer in datagrams:
        size = len(run[0]) if run else 0
        if run and (peer != to or len(data) > size or len(run[-1]) < size or len(run) == SEGMENTS or total + len(data) > SEGMENTED):
            yield b"".join(run), size if len(run) > 1 else 0, to
            run, total = [], 0
        run.append(data)
        total += len(data)
        to = peer
    if run:
        yield b"".join(run), len(run[0]) if len(run) > 1 else 0, to


def receive(sock: socket.socket, wild: bool) -> tuple[bytes, tuple[Any, ...]]:
    """A datagram and its peer. wild: the socket listens on all addresses. Raises BlockingIOError: there is none; OSError: of ICMP."""
    if not wild:
        data, address = sock.recvfrom(DATAGRAM)
        return data, (address[0], address[1])
    data, extras, _, address = sock.recvmsg(DATAGRAM, 64)
    ours = b""
    for level, kind, value in extras:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            ours = value[4:8]  # ipi_spec_dst
        elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            ours = value[:16]
    return data, (address[0], address[1], ours)


def send(sock: socket.socket, data: bytes, peer: tuple[Any, ...], size: int) -> None:
    """As `runs` gave it. Raises OSError."""
    to, ours = peer[:2], peer[2] if len(peer) > 2 else b""
    if not size and not ours:
        sock.sendto(data, to)
        return
    extras: list[tuple[int, int, bytes]] = []
    if len(ours) == 4:
        extras.append((socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i4s4x", 0, ours)))
    elif len(ours) == 16:
        extras.append((socket.IPPROTO_IPV6, IPV6_PKTINFO, struct.pack("=16sI", ours, 0)))
    if not size:
        sock.sendmsg([data], extras, 0, to)
        return
    try:
        sock.sendmsg([data], [*extras, (socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0, to)
    except BlockingIOError:
        raise
    except OSError:  # a device or a kernel that cannot: one by one
        for at in range(0, len(data), size):
            sock.sendmsg([data[at : at + size]], extras, 0, to)


def bind(host: str, port: int) -> socket.socket:
    """A socket for `H3Server`; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_MTU_DISCOVER", 10), NEVER_FRAGMENT)
        if host in WILD:
            v6 = family == socket.AF_INET6
            sock.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, IPV6_RECVPKTINFO if v6 else IP_PKTINFO, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
