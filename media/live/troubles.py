"""What a streamer is told about a stream: the one table behind the API's `warnings`, log events and docs/live.md."""

from __future__ import annotations

from typing import Final

TROUBLES: Final[dict[str, str]] = {
    "codec_unsupported": "The publisher sends a codec other than H.264 video or AAC audio; it is left out.",
    "config_broken": "A decoder configuration (SPS/PPS or AudioSpecificConfig) breaks its standard; it is left out.",
    "frame_damaged": "A frame has NAL units whose lengths do not add up; it is left out.",
    "frame_waiting": "Frames came before the configuration or key frame that they need; they are left out.",
    "timestamp_backward": "A video timestamp did not increase; it was moved on by a millisecond.",
    "timestamp_jump": "The publisher's clock was set anew; players see a discontinuity.",
    "audio_step": "Audio timestamps drifted by more than a frame and a half from the samples; they were set anew.",
    "parameters_changed": "Tracks or their parameters changed; players see a discontinuity.",
    "video_lost": "Video stopped; the stream goes on with audio alone.",
    "audio_lost": "Audio stopped; the stream goes on with video alone.",
    "key_distance": "Key frames are further apart than the target duration; set the encoder to one every 2 seconds.",
    "frame_interval": "A video frame lasted longer than a part may; there was no audio to go on with.",
    "oversize": "More bytes than a part or a segment may have; it was cut early.",
    "muxer_restarted": "A part could not be written; the stream's timeline was started anew.",
}
