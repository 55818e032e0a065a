"""Registered assets: what they are, where they come from, how they are addressed, and who used how much of them."""
