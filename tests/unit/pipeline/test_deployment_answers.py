"""Answers: checked before anything is made of them, by whom they come."""

from __future__ import annotations

import pytest

from xwhep_packaging.deployment import answers
from xwhep_packaging.deployment.answers import Answers, from_values, host_name, weakness_of
from xwhep_packaging.errors import AnswerError, WeakPassword

GOOD = "correct horse battery"


def test_answers_of_a_file() -> None:
    values = {
        "XWSERVER": "Grid.Example.org.",
        "XWADMINLOGIN": "root",
        "XWADMINPASSWORD": GOOD,
        "CERTO": "A, B",
        "CERTC": "fr",
    }
    given = from_values({**values, "DBHOST": "ignored"})
    assert given == Answers(
        server="grid.example.org", admin_login="root", admin_password=GOOD, organisation="A, B", country="FR"
    )
    assert GOOD not in repr(given)


def test_only_the_server_has_to_be_named() -> None:
    assert from_values({"XWSERVER": "grid"}) == Answers(server="grid", admin_login="admin", admin_password="")
    with pytest.raises(AnswerError, match="XWSERVER is not set"):
        from_values({"XWADMINLOGIN": "admin"})


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("grid", "grid"),
        ("GRID.Example.ORG", "grid.example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.grid.example", "1.grid.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::7"),
    ],
)
def test_host_names(text: str, normal: str) -> None:
    assert host_name(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "https://grid.example.org",
        "grid.example.org:4321",
        "grid example",
        "grid..example",
        "-grid",
        "grid-",
        "grid_1",
        "bücher.example",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "300.1.2.3",
        "12",
        "0.0.0.0",
        "fe80::1%eth0",
        "grid\n",
        "$(id)",
        "*.example.org",
        "../grid",
    ],
)
def test_what_is_no_host_name(text: str) -> None:
    if text.strip() != text:
        assert host_name(text) == text.strip()
        return
    with pytest.raises(AnswerError, match="is no host name"):
        host_name(text)


@pytest.mark.parametrize("text", ["XX", "FRA", "f", "UK", "É"])
def test_what_is_no_country(text: str) -> None:
    with pytest.raises(AnswerError, match="is no country"):
        from_values({"XWSERVER": "grid", "CERTC": text})


@pytest.mark.parametrize("text", ["a b", "a" * 65, "admin:x", "é", "-a", "admin\n"])
def test_what_is_no_login(text: str) -> None:
    with pytest.raises(AnswerError, match="is no login"):
        from_values({"XWSERVER": "grid", "XWADMINLOGIN": text})


def test_fields_of_a_certificate_have_a_length() -> None:
    with pytest.raises(AnswerError, match="CERTO has more than 64"):
        from_values({"XWSERVER": "grid", "CERTO": "x" * 65})


# Passwords


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("admin", "login"),
        ("Admin", "login"),
        ("admin2026!!!!!!!", "login"),
        ("password", "list"),
        ("Password1234567", "list"),
        ("xwadminp", "list"),
        ("change-this-password", "list"),
        ("changeme!!!!!!!!!!", "list"),
        ("123456789012", "digits"),
        ("834-271-905-66", "digits"),
        ("Tr0ub4dor&3", "shorter"),
        ("aaaaaaaaaaaaaaaa", "repeats"),
        ("abababababababab", "repeats"),
    ],
)
def test_weak_passwords_are_refused_without_being_repeated(password: str, why: str) -> None:
    with pytest.raises(WeakPassword, match=why) as caught:
        from_values({"XWSERVER": "grid", "XWADMINPASSWORD": password})
    assert password not in caught.value.report().replace("administrator", "") or password.lower() == "password"
    assert "insecure_demo=1" in caught.value.next_step
    assert from_values({"XWSERVER": "grid", "XWADMINPASSWORD": password}, insecure_demo=True).admin_password == password


@pytest.mark.parametrize("password", [GOOD, "Yz7-kk2_Pq9x", "834-271-905-66-113-27", "пароль для сетки"])
def test_other_passwords_pass(password: str) -> None:
    assert weakness_of(password, "admin") == ""


def test_every_common_password_is_weak() -> None:
    assert all(weakness_of(word, "somebody") for word in answers.COMMON)
    assert all(weakness_of(f"{word.title()}1!", "somebody") for word in answers.COMMON)


def test_differences_name_keys() -> None:
    one = Answers(server="a", admin_password=GOOD, unit="x")
    assert answers.differences(one, Answers(server="a", unit="x")) == [], "an empty password means: as it is"
    assert answers.differences(one, Answers(server="b", admin_password="other", unit="y")) == [
        "XWSERVER",
        "XWADMINPASSWORD",
        "CERTOU",
    ]
