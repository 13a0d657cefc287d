"""Matplotlib without its generated docstrings, for a process in which nobody reads them; it goes before all else of it."""

from __future__ import annotations

from matplotlib import artist


def describe_nothing() -> None:
    """Let what is imported of matplotlib next write no lists of properties into docstrings: a fifth of what importing takes."""
    artist.kwdoc = lambda _: ""
