"""Preference pairs to look at: one page with both continuations of each pair."""
