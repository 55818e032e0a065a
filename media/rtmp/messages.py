"""RTMP messages that we write: commands, status, user control (RTMP 1.0, sections 5.4, 7.1.7 and 7.2). Pure."""

from __future__ import annotations

import struct
from typing import Final

from nova.ext import rtmp
from nova.media.rtmp import amf

# Message types (sections 5.4, 6 and 7.1).
SET_CHUNK_SIZE: Final = 1
USER_CONTROL: Final = 4
WINDOW_ACK_SIZE: Final = 5
SET_PEER_BANDWIDTH: Final = 6
AUDIO: Final = 8
VIDEO: Final = 9
DATA_AMF3: Final = 15
COMMAND_AMF3: Final = 17
DATA: Final = 18
COMMAND: Final = 20

# Chunk stream ids: 2 is the protocol's; the others are what librtmp uses, so that no middle box is surprised.
_CONTROL_CSID: Final = 2
_COMMAND_CSID: Final = 3
_STATUS_CSID: Final = 5

# User control events (section 7.1.7).
STREAM_BEGIN: Final = 0
STREAM_EOF: Final = 1

_DYNAMIC: Final = 2  # limit type of set peer bandwidth

DEFAULT_CHUNK_SIZE: Final = 128  # until set chunk size says another (section 5.4.1)
# FMLE's name for the metadata message and the handler that it asks the server to keep.
SET_DATA_FRAME: Final = "@setDataFrame"
ON_METADATA: Final = "onMetaData"


def control(type: int, *values: int) -> bytes:
    """A protocol control message of 32 bit values."""
    return rtmp.encode(type, 0, 0, struct.pack(f">{len(values)}I", *values), csid=_CONTROL_CSID)


def peer_bandwidth(window: int) -> bytes:
    return rtmp.encode(SET_PEER_BANDWIDTH, 0, 0, struct.pack(">IB", window, _DYNAMIC), csid=_CONTROL_CSID)


def user_control(event: int, msid: int) -> bytes:
    return rtmp.encode(USER_CONTROL, 0, 0, struct.pack(">HI", event, msid), csid=_CONTROL_CSID)


def command(chunk_size: int, msid: int, *values: amf.Encodable) -> bytes:
    """A command: its name, transaction id, command object and arguments."""
    return rtmp.encode(COMMAND, 0, msid, amf.encode(*values), csid=_COMMAND_CSID, chunk_size=chunk_size)


def status(chunk_size: int, msid: int, level: str, code: str, description: str) -> bytes:
    """onStatus (section 7.2.2): level is `status`, `warning` or `error`."""
    info = {"level": level, "code": code, "description": description}
    return rtmp.encode(COMMAND, 0, msid, amf.encode("onStatus", 0, None, info), csid=_STATUS_CSID, chunk_size=chunk_size)


def data(chunk_size: int, msid: int, timestamp: int, *values: amf.Encodable) -> bytes:
    """A data message, such as onMetaData."""
    return rtmp.encode(DATA, timestamp, msid, amf.encode(*values), csid=_STATUS_CSID, chunk_size=chunk_size)
