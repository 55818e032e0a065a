"""Forgetting exactly what is told, on every edge: jobs, the purge log on the bus, and the edges that read it."""
