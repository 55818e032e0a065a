"""The shield: requests of a site, one fetch for an object however many ask, and what becomes of it."""
