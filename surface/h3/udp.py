"""The UDP socket of HTTP/3. Loads nothing else, so that it can be open before aioquic is there."""

from __future__ import annotations

import socket
from typing import Final

BUFFER: Final = 2 << 20  # bytes asked of the kernel each way, which gives what net.core.rmem_max allows: a slice's worth of bursts
NEVER_FRAGMENT: Final = 2  # IP_PMTUDISC_DO


def bind(host: str, port: int) -> socket.socket:
    """A socket for `H3Server`; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_MTU_DISCOVER", 10), NEVER_FRAGMENT)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
