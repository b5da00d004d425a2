"""Errors: codes that tell them apart, on the wire and as exit codes."""

from __future__ import annotations

import pytest

from xwhep.common import errors
from xwhep.common.errors import ALL_ERRORS, BY_CODE, ServerFailed, XwhepError, from_wire


def test_all_errors_are_listed():
    defined = {found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, XwhepError)}
    assert defined == {*ALL_ERRORS, XwhepError}


def test_codes_and_exit_codes_are_each_errors_own():
    assert len({error.code for error in ALL_ERRORS}) == len(ALL_ERRORS)
    exit_codes = {error.exit_code for error in (*ALL_ERRORS, XwhepError)}
    assert len(exit_codes) == len(ALL_ERRORS) + 1
    assert exit_codes <= set(range(1, 20))  # 0 is success; from 20 on they belong to the roles


def test_every_error_is_an_http_error():
    assert all(400 <= error.status < 600 for error in ALL_ERRORS)


def test_the_tree_in_the_docstring_is_the_truth():
    for error in ALL_ERRORS:
        line = next(line for line in (errors.__doc__ or "").splitlines() if f" {error.__name__} " in line)
        assert f" {error.exit_code} " in line


@pytest.mark.parametrize("error", ALL_ERRORS)
def test_what_the_server_raises_the_client_raises(error):
    again = from_wire(error.code, "what happened", "what to do")
    assert type(again) is error
    assert (str(again), again.next_step) == ("what happened", "what to do")
    assert BY_CODE[error.code] is error


def test_an_unknown_code_is_the_servers_fault():
    assert isinstance(from_wire("news", "text"), ServerFailed)
