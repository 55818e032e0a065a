"""TLS for connections that we open."""
