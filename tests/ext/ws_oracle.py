"""WebSocket frames read the plain way: one pass over bytes that are all there, a check where RFC 6455 has the rule."""

import codecs
from dataclasses import dataclass, field

Message = tuple[int, bytes, int, bool]  # opcode, payload, close code, deflated


def xor(data: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, key: bytes | None = b"\x37\xfa\x21\x3d") -> bytes:
    size = len(payload)
    bit = 0x80 if key is not None else 0
    if size < 126:
        length = bytes([bit | size])
    else:
        length = bytes([bit | 126]) + size.to_bytes(2, "big") if size < 65536 else bytes([bit | 127]) + size.to_bytes(8, "big")
    return bytes([fin << 7 | rsv << 4 | opcode]) + length + (key + xor(payload, key) if key is not None else payload)


class Wrong(Exception):
    pass


class Short(Exception):
    pass


@dataclass
class Reader:
    client: bool = False
    deflate: bool = False
    text: bool = True
    binary: bool = True
    max_message: int = 65536
    messages: list[Message] = field(default_factory=list)

    def read(self, data: bytes) -> str | None:
        """Fill `messages`; the name of what is wrong, None when nothing is."""
        self.data, self.at = data, 0
        self.kind, self.rsv1, self.body = 0, False, b""
        try:
            while True:
                self.frame()
        except Short:
            return None
        except Wrong as error:
            return str(error)

    def byte(self) -> int:
        if self.at == len(self.data):
            raise Short
        self.at += 1
        return self.data[self.at - 1]

    def frame(self) -> None:
        first = self.byte()
        fin, rsv, opcode = first >> 7, first >> 4 & 7, first & 15
        if rsv & 3:
            raise Wrong("ws_reserved_bits")
        if opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            raise Wrong("ws_opcode")
        if rsv & 4 and (not self.deflate or opcode not in (1, 2)):
            raise Wrong("ws_reserved_bits")
        if opcode >= 8 and not fin:
            raise Wrong("ws_control")
        if opcode < 8 and (opcode == 0) != bool(self.kind):
            raise Wrong("ws_fragment")
        if (opcode == 1 and not self.text) or (opcode == 2 and not self.binary):
            raise Wrong("ws_kind")
        second = self.byte()
        if (second >> 7) == self.client:
            raise Wrong("ws_mask")
        size = second & 127
        if size > 125:
            if opcode >= 8:
                raise Wrong("ws_control")
            wide = 2 if size == 126 else 8
            octets = []
            for _ in range(wide):
                octets.append(self.byte())
                if wide == 8 and octets[0] > 127:
                    raise Wrong("ws_length")
            size = int.from_bytes(bytes(octets), "big")
            if size < (126 if wide == 2 else 65536):
                raise Wrong("ws_length")
        if opcode < 8:
            deflated = bool(rsv & 4) if opcode else self.rsv1
            limit = self.max_message + (self.max_message // 128 + 64 if deflated else 0)
            if (len(self.body) if opcode == 0 else 0) + size > limit:
                raise Wrong("ws_size")
        key = bytes(self.byte() for _ in range(4)) if second >> 7 else bytes(4)
        payload = xor(self.data[self.at : self.at + size], key)
        self.at += len(payload)
        if opcode >= 8:
            self.whole(payload, size)
            self.control(opcode, payload)
            return
        if opcode:
            self.kind, self.rsv1, self.body, self.empty = opcode, bool(rsv & 4), b"", 0
            self.decoder = codecs.getincrementaldecoder("utf-8")("strict")
        if size == 0 and not fin:
            self.empty += 1
            if self.empty > 64:
                raise Wrong("ws_empty_frames")
        self.body += payload
        if self.kind == 1 and not self.rsv1:
            try:
                self.decoder.decode(payload)
                self.whole(payload, size)
                self.decoder.decode(b"", final=bool(fin))
            except UnicodeDecodeError:
                raise Wrong("ws_utf8") from None
        self.whole(payload, size)
        if fin:
            self.messages.append((self.kind, self.body, 0, self.rsv1))
            self.kind = 0

    @staticmethod
    def whole(payload: bytes, size: int) -> None:
        if len(payload) < size:
            raise Short

    def control(self, opcode: int, payload: bytes) -> None:
        if opcode != 8:
            self.messages.append((opcode, payload, 0, False))
            return
        code = 1005
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) == 1 or not (code in {1000, 1001, 1002, 1003, *range(1007, 1015)} or 3000 <= code <= 4999):
                raise Wrong("ws_close")
            try:
                payload[2:].decode()
            except UnicodeDecodeError:
                raise Wrong("ws_utf8") from None
        self.messages.append((8, payload[2:], code, False))
        raise Short  # nothing counts after a close frame
