"""Sizes, durations, times and modes as people type them."""

import pytest

from xwhep.client import permissions, quantities


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512M", 512 * 1024**2),
        ("2g", 2 * 1024**3),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("1 KB", 1024),
        ("1T", 1024**4),
    ],
)
def test_sizes(text, expected):
    assert quantities.size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("0.5", 0.5), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1d", 86400)]
)
def test_durations(text, expected):
    assert quantities.duration(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+2h", 7200),
        ("1970-01-01T01:00", 3600),
        ("1970-01-01T01:00Z", 3600),
        ("1970-01-01T02:00+01:00", 3600),
        ("1970-01-02", 86400),
    ],
)
def test_times(text, expected):
    assert quantities.moment(text, now=0) == expected


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "1e3", "1,5G", "nan", "1M1K"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="like 512M"):
        quantities.size(text)


@pytest.mark.parametrize("text", ["", "h", "-5", "1w", "1h 3m", "inf", "0", "0m", "9" * 400])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="duration"):
        quantities.duration(text)


@pytest.mark.parametrize("text", ["", "+", "tomorrow", "1970-01-01T00:00Z", "2026-13-01", "+-2h"])
def test_what_is_no_time_to_come(text):
    with pytest.raises(ValueError, match=r"time|passed|duration"):
        quantities.moment(text, now=10)


@pytest.mark.parametrize(
    ("word", "before", "after"),
    [
        ("750", 0o777, 0o750),
        ("0640", 0, 0o640),
        ("0", 0o777, 0),
        ("g+r", 0o700, 0o740),
        ("o=rx", 0o777, 0o775),
        ("a-w", 0o777, 0o555),
        ("+x", 0o600, 0o711),
        ("u=rw,go=", 0o777, 0o600),
        ("g=u", 0o700, 0o770),
        ("ug+r-x", 0o111, 0o441),
        ("g=", 0o777, 0o707),
    ],
)
def test_modes(word, before, after):
    assert permissions.changed(word, before) == after


@pytest.mark.parametrize("word", ["", "8", "1777", "00777", "g", "g+z", "z+r", "g+r,", "u+s", "0o7"])
def test_what_is_no_mode(word):
    with pytest.raises(ValueError, match="no mode"):
        permissions.changed(word, 0)


def test_modes_are_shown_as_ls_does():
    assert permissions.shown(0o754, "") == "rwxr-xr--"
    assert permissions.shown(0o700, "bio") == "rwx------ bio"
