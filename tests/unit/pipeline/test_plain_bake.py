"""Containerfiles baked without mounts: what is read of them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from xwhep_packaging.errors import BakeError
from xwhep_packaging.plain_bake import BIND, PlainBake, instructions


def bake(folder: Path, text: str) -> PlainBake:
    file = folder / "Containerfile"
    file.write_text(text)
    return PlainBake(
        context=folder, file=file, base="", epoch=1, arguments={}, log=folder / "log", what="cannot bake image 'x'"
    )


def test_instructions_are_joined_and_comments_left_out() -> None:
    text = '# one\nARG BASE\nfrom ${BASE}\n\nRUN a && \\\n    # in between\n    b \\\n  c\nLABEL x="1" \\\n  y="2"\n'
    assert list(instructions(text)) == [
        ("ARG", "BASE"),
        ("FROM", "${BASE}"),
        ("RUN", "a &&     b   c"),
        ("LABEL", 'x="1"   y="2"'),
    ]


def test_the_place_of_the_context_is_no_word_of_the_command() -> None:
    run = "--mount=type=bind,source=.,target=/run/debs dpkg --install /run/debs/*.deb"
    assert BIND.sub("", run) == "dpkg --install /run/debs/*.deb"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("FROM a\nRUN x\nFROM b\n", "several stages", id="stages"),
        pytest.param("FROM a\nRUN x\nCOPY y /\n", "copies files after a RUN", id="copy"),
        pytest.param("FROM a\nUSER 5:5\nRUN x\n", "made as 5:5", id="user"),
    ],
)
def test_what_plain_chroots_cannot_do_is_refused_before_anything_is_made(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BakeError, match=words) as caught:
        bake(tmp_path, text).run()
    assert "doit doctor" in caught.value.next_step


@pytest.mark.parametrize(
    "text",
    ["FROM scratch\nADD root.tar /\n", "FROM a\nCOPY y /\nRUN x\nUSER 5:5\n", "FROM a\nUSER 0:0\nRUN x\nUSER 5\n"],
)
def test_what_they_can_do_is_not_refused(tmp_path: Path, text: str) -> None:
    bake(tmp_path, text)._check(list(instructions(text)))
