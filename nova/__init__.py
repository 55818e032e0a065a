"""Nova core: the media and realtime heart of Nova."""

__version__ = "0.1.0"
