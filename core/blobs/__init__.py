"""Blobs: large immutable things under keys. One port, a twin in memory, files in the data directory, S3."""

from nova.core.blobs.port import Blobs, DirectBlobs, Download, Key, Part, Stat, Stored, blob_key

__all__ = ["Blobs", "DirectBlobs", "Download", "Key", "Part", "Stat", "Stored", "blob_key"]
