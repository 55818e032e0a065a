"""HTTP caching as pure machines (RFC 9110, 9111, 5861, 9211, 9213), and the tiers that keep answers."""
