"""Why an RTMP connection ended: the one table behind log lines, metric labels and docs/rtmp.md.

The chunk kernel's own reasons (`rtmp_error` in ext/rtmp.pyx) are rows here too, so that the set is closed.
"""

from __future__ import annotations

from typing import Final

REASONS: Final[dict[str, str]] = {
    # The chunk stream
    "rtmp_version": "the first byte is not RTMP version 3: RTMPE, TLS or HTTP on this port",
    "rtmp_chunk_order": "a chunk stream began with a header that refers to an earlier one",
    "rtmp_chunk_interrupted": "a message began inside another one of the same chunk stream",
    "rtmp_chunk_size": "a chunk size of 0 or above 2^31 - 1",
    "rtmp_message_size": "a message above rtmp.max_message",
    "rtmp_chunk_streams": "more chunk streams than rtmp.max_chunk_streams",
    "rtmp_held_bytes": "unfinished messages held too much memory",
    "rtmp_control": "a protocol control message that is too short",
    "rtmp_aggregate": "an aggregate message that is cut short",
    "rtmp_no_memory": "this machine is out of memory",
    # Commands
    "rtmp_amf": "a command or data message that is not AMF0, or too deep or large",
    "rtmp_command": "a command without the arguments that it needs",
    "rtmp_command_order": "publish or play before connect and createStream, or twice",
    "rtmp_flood": "more commands than any encoder sends",
    "bad_app": "an application other than the one we serve",
    "bad_stream_key": "the stream key is not valid",
    "key_guessing": "too many wrong stream keys from this address",
    "stream_not_live": "play of a stream that is not live",
    "refused": "the stream could not be taken on",
    # Time
    "handshake_timeout": "no whole handshake within rtmp.handshake_timeout",
    "publish_timeout": "no publish or play within rtmp.publish_timeout",
    "stalled": "a publisher sent nothing for rtmp.idle_timeout",
    "slow_reader": "a player took its bytes too slowly",
    # Decisions
    "takeover": "another publisher with a valid key took the stream over",
    "key_revoked": "the stream key was revoked",
    "stopped": "the stream was stopped",
    "ended": "the stream that was played has ended",
    "shutdown": "the server is shutting down",
    # The peer's own wish
    "unpublished": "the publisher said that it is done",
    "disconnected": "the peer closed the connection, or it broke",
    "internal": "a bug of ours",
}
