"""Sizes and modes as people type them."""

from argparse import ArgumentTypeError

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


@pytest.mark.parametrize("text", ["", "M", "-1", "1X", "1e3", "1,5G", "nan", "1M1K", "9" * 400, "2000000T"])
def test_what_is_no_size(text):
    with pytest.raises(ArgumentTypeError, match="no size"):
        quantities.size(text)


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
