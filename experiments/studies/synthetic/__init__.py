"""Synthetic hospitals with a known truth."""
