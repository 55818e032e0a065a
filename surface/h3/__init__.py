"""HTTP/3 (RFC 9114, 9220) on aioquic: our own thin server, one UDP socket, in the trio thread.

`quic` bends aioquic where it has no bound, `connection` is one connection as a machine, `front` routes datagrams and checks
addresses, `budget` keeps the whole below its share of the thread, `exchange` and `websocket` are a stream as ASGI, `server` does the I/O.
"""
