"""Texts of other parties, made harmless for a terminal or a letter."""

from __future__ import annotations

import unicodedata


def plain(text: str) -> str:
    """One line of a text, without anything that moves, hides or turns what is shown.

    >>> plain("two   words")
    'two words'

    Args:
        text: From anybody. White space of any kind becomes one blank; control and format characters become U+FFFD.
    """
    return "".join(
        character if character.isprintable() and unicodedata.category(character)[0] != "C" else "\ufffd"
        for character in " ".join(text.split())
    )
