"""Which origin is asked, when another one is, and when none: pure machines, `now` comes in."""
