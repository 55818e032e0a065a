"""Streams: what somebody may publish to and others may watch; their keys, visibility, sessions and numbers."""
