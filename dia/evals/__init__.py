"""Judging speech: what is said, by whom, how natural it sounds, how it ends and how long it took."""
