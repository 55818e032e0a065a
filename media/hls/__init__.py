"""HTTP Live Streaming (RFC 8216bis): the playlists of a live stream, and the names under which its media is served."""
