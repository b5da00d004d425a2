"""Spans and moments as people type them."""

import time
from argparse import ArgumentTypeError

import pytest

from xwhep.client import moments


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("90", 90),
        ("45s", 45),
        ("1.5m", 90),
        ("2h", 7200),
        ("7d", 604_800),
        ("4W", 2_419_200),
        (" 1 h ", 3600),
        ("1h30m", 5400),
        ("0", 0),
    ],
)
def test_a_span_of_time(typed, seconds):
    assert moments.span(typed) == seconds


@pytest.mark.parametrize("typed", ["", "soon", "-1h", "1y", "h", "1h30", "1h-3m", "nan", "1e9"])
def test_what_is_no_span_is_refused_with_examples(typed):
    with pytest.raises(ArgumentTypeError, match="10m, 2h, 7d"):
        moments.span(typed)


@pytest.mark.parametrize(
    ("typed", "at"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T00:01", 60),
        ("1970-01-01 00:01:30", 90),
        ("1970-01-01T01:00+01:00", 0),
        ("1970-01-01T00:00:01Z", 1),
        ("1960-01-01", 0),
    ],
)
def test_a_moment_is_in_utc_unless_it_names_its_zone(typed, at):
    assert moments.past(typed) == at


def test_a_span_is_so_long_ago():
    assert moments.past("2h") == pytest.approx(time.time() - 7200, abs=5)
    assert moments.past("9999999w") == 0


@pytest.mark.parametrize("typed", ["", "yesterday", "2026-13-01", "24:00", "nan"])
def test_what_is_no_moment_is_refused_with_examples(typed):
    with pytest.raises(ArgumentTypeError, match="2026-11-23"):
        moments.past(typed)


@pytest.mark.parametrize(("typed", "at"), [("2100-01-01", 4_102_444_800), ("2100-01-01T01:00+01:00", 4_102_444_800)])
def test_a_moment_to_come(typed, at):
    assert moments.coming(typed) == at
    assert moments.coming("+2h") == pytest.approx(time.time() + 7200, abs=5)


@pytest.mark.parametrize("typed", ["", "+", "2h", "+-2h", "tomorrow", "2026-13-01"])
def test_what_is_no_moment_to_come(typed):
    with pytest.raises(ArgumentTypeError, match=r"2026-11-23|10m, 2h"):
        moments.coming(typed)


def test_a_moment_that_has_passed_is_said():
    with pytest.raises(ArgumentTypeError, match="has passed"):
        moments.coming("2020-01-01")
