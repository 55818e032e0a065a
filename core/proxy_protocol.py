"""The PROXY protocol: what a trusted proxy says, before the first byte of a connection, about who is behind it.

Pure: no I/O and no clock. The I/O threads read it with `ext/proxy_header`, on connections from `http.trusted_proxies`; this is what
that kernel is held to, and what speaks where bytes come from elsewhere.
Source: haproxy.org/download/2.9/doc/proxy-protocol.txt (versions 1 and 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from nova.core import errors
from nova.core.limits import IpAddress

MAX_V1: Final = 107  # bytes with CRLF (section 2.1)
MAX_V2: Final = 16 + 2048  # bytes; section 2.2 wants room for 536, certificates' names in TLVs fit below this
_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_INET, _INET6 = 1, 2


class ProxyError(errors.BadRequest):
    """What came is not a PROXY header: the connection ends, its bytes are nobody's request."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """A whole header.

    source: the client; None when the proxy speaks for itself (a health check) or does not know.
    rest: the bytes behind the header, which belong to the connection.
    """

    source: tuple[IpAddress, int] | None
    destination: tuple[IpAddress, int] | None
    rest: bytes


class ProxyHeader:
    """Reads one header, in any split."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes | memoryview) -> Proxied | None:
        """Consume `data`; the header once it is whole, else None. Not to be fed again after either an answer or an error.

        Raises ProxyError: malformed, or larger than MAX_V1 or MAX_V2; at the first byte that shows it.
        """
        self._data += data
        head = bytes(self._data[:16])
        if head[:12] == _V2[: len(head)]:
            return self._version_2(head)
        if head[:6] == _V1[: len(head)]:
            return self._version_1()
        raise ProxyError("bad_request", "the connection does not begin with a PROXY header")

    def _version_1(self) -> Proxied | None:
        end = self._data.find(b"\r\n", 0, MAX_V1)
        if end < 0:
            if len(self._data) >= MAX_V1 or b"\n" in self._data:
                raise ProxyError("bad_request", "a PROXY header of version 1 is one line of at most 107 bytes")
            return None
        if b"\n" in self._data[:end]:
            raise ProxyError("bad_request", "a PROXY header of version 1 is one line")
        rest = bytes(self._data[end + 2 :])
        words = bytes(self._data[:end]).split(b" ")
        if len(words) >= 2 and words[1] == b"UNKNOWN":
            return Proxied(None, None, rest)  # section 2.1: what follows on the line is ignored
        if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
            raise ProxyError("bad_request", "the PROXY line is not `PROXY TCP4|TCP6|UNKNOWN …`")
        kind: type[IpAddress] = IPv4Address if words[1] == b"TCP4" else IPv6Address
        if b"%" in words[2] + words[3]:
            raise ProxyError("bad_request", "the PROXY line has an address with a zone")
        try:
            source, destination = _plain(kind(words[2].decode("ascii"))), _plain(kind(words[3].decode("ascii")))
        except ValueError:
            raise ProxyError("bad_request", "the PROXY line has a malformed address") from None
        source_port, destination_port = (_port(word) for word in words[4:6])
        return Proxied((source, source_port), (destination, destination_port), rest)

    def _version_2(self, head: bytes) -> Proxied | None:
        if len(head) > 12 and head[12] not in (0x20, 0x21):
            raise ProxyError("bad_request", "the PROXY header has an unknown version or command")
        if len(head) < 16:
            return None
        size = 16 + int.from_bytes(head[14:16], "big")
        if size > MAX_V2:
            raise ProxyError("bad_request", f"the PROXY header has more than {MAX_V2} bytes")
        if len(self._data) < size:
            return None
        body, rest = bytes(self._data[16:size]), bytes(self._data[size:])
        family, transport = head[13] >> 4, head[13] & 15
        # LOCAL: the proxy's own connection. Families and transports that are not ours say nothing we can use (section 2.2).
        if head[12] & 15 == 0 or family not in (_INET, _INET6) or transport != 1:
            return Proxied(None, None, rest)
        width = 4 if family == _INET else 16
        if len(body) < 2 * width + 4:
            raise ProxyError("bad_request", "the PROXY header is too short for its addresses")
        kind: type[IpAddress] = IPv4Address if family == _INET else IPv6Address
        ports = (int.from_bytes(body[2 * width :][:2], "big"), int.from_bytes(body[2 * width + 2 :][:2], "big"))
        source, destination = _plain(kind(body[:width])), _plain(kind(body[width : 2 * width]))
        return Proxied((source, ports[0]), (destination, ports[1]), rest)


def _port(word: bytes) -> int:
    # Section 2.1: decimal digits, no leading zeroes, 0 to 65535.
    if not word.isdigit() or len(word) > 5 or (word[0:1] == b"0" and word != b"0") or int(word) > 65535:
        raise ProxyError("bad_request", "the PROXY line has a malformed port")
    return int(word)


def _plain(address: IpAddress) -> IpAddress:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
