"""Compiled fast paths: codecs over bytes, the reactor and the tables it reads. Knows no policy, no trio, nothing else of Nova."""
