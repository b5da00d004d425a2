"""The join line: what one machine prints, another reads, however it was pasted."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep.common.errors import UsageError
from xwhep.common.join import JoinLine, normal_address, parse_join_line

PRINT = "sha256:" + "a" * 64
LINE = JoinLine(address="https://grid.example.org:4321", fingerprint=PRINT, token="secret-token")


def test_a_line_comes_back_as_it_was():
    assert str(LINE) == f"xwhep-join-1 https://grid.example.org:4321 {PRINT} secret-token"
    assert parse_join_line(str(LINE)) == LINE


@pytest.mark.parametrize("spaced", [" {} \n", "\n\n{}\n", "{}\r\n"])
def test_white_space_around_it_does_not_matter(spaced):
    assert parse_join_line(spaced.format(LINE)) == LINE


def test_a_line_that_a_terminal_wrapped_is_understood():
    assert parse_join_line(str(LINE).replace(" ", "\n  ")) == LINE


@pytest.mark.parametrize("receiver", ["xw login", "xwhep-worker join"])
def test_the_whole_command_that_the_server_prints_is_understood(receiver):
    line = f"xwhep-join-1 https://grid:4321 sha256:{'a' * 64} token"
    assert str(parse_join_line(f"echo '{line}' | {receiver}\n")) == line


def test_the_token_is_not_in_its_repr():
    assert "secret-token" not in repr(LINE)
    assert "secret-token" not in f"{[LINE]}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        f"xwhep-join-2 https://h:1 {PRINT} secret-token",
        f"xwhep-join-1 https://h:1 {PRINT}",
        f"xwhep-join-1 https://h:1 {PRINT} secret-token more",
        "xwhep-join-1 https://h:1 sha256:abc secret-token",
        f"xwhep-join-1 https://h:1 {PRINT.upper()} secret-token",
        f"xwhep-join-1 http://h:1 {PRINT} secret-token",
    ],
)
def test_another_text_is_refused_without_repeating_the_token(text):
    with pytest.raises(UsageError) as caught:
        parse_join_line(text)
    assert "secret-token" not in str(caught.value) + caught.value.next_step
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("grid", "https://grid:4321"),
        ("grid:99", "https://grid:99"),
        ("https://grid/", "https://grid:4321"),
        ("https://GRID:1", "https://grid:1"),
        ("192.0.2.7", "https://192.0.2.7:4321"),
        ("[2001:db8::1]", "https://[2001:db8::1]:4321"),
        ("https://[2001:db8::1]:99", "https://[2001:db8::1]:99"),
    ],
)
def test_addresses_become_complete(text, address):
    assert normal_address(text) == address
    assert normal_address(address) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://grid",
        "https://",
        "grid:port",
        "grid:70000",
        "https://grid/path",
        "ftp://x",
        "[",
        "a@grid",
        "grid?x",
        "it's",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        normal_address(text)
    assert "https://HOST:4321" in caught.value.next_step


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        assert re.fullmatch(r"https://[^ '/]+:\d+", normal_address(text))
