"""Resumable uploads: bytes that arrive in pieces, survive a crash, and become a picture or a video."""
