"""Blobs: large immutable things under keys. One port, a twin in memory, files in the data directory, S3."""

from nova.core.blobs.port import Blobs, Download, Key, Stat, Stored, blob_key

__all__ = ["Blobs", "Download", "Key", "Stat", "Stored", "blob_key"]
