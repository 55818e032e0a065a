"""Channels, chat, presence, messaging and notifications."""
