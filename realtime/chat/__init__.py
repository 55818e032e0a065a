"""The chat of live streams: comments, reactions, moderation."""
