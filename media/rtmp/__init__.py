"""RTMP: publishers in, players out, and a client that publishes.

The chunk stream is `nova.ext.rtmp`; here messages get their meaning. `session` and `client` are machines, `server` is the
shell over the reactor's sockets, `play` turns a stream's messages into items for players.
"""
