"""Commands of docs/howto, taken from the pages as they stand, so that no page says what nobody has run."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clones import REPOSITORY

PAGES = REPOSITORY / "docs" / "howto"
_BLOCK = re.compile(r"^```\n(.+?)^```$", re.M | re.S)


def blocks(page: str) -> list[str]:
    return _BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))


def block(page: str, begins: str, words: Mapping[str, str] | None = None) -> str:
    """The one block of the page with a line that begins so; `words`: what a person puts in place of names."""
    found = [text for text in blocks(page) if re.search(rf"^ *{re.escape(begins)}", text, re.M)]
    assert len(found) == 1, f"{page}.md has {len(found)} blocks with a line that begins with {begins!r}"
    return replaced(found[0], words or {})


def replaced(text: str, words: Mapping[str, str]) -> str:
    """Every word has to be there: else the page no longer says what the test means. Longest words first."""
    for word in words:
        assert word in text, f"{word!r} is not in {text}"
    either = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.sub(either, lambda match: words[match[0]], text) if words else text
