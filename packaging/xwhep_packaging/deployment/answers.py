"""What an administrator says about a grid, checked before anything is made of it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from xwhep_packaging.deployment.meanings import ANSWERS
from xwhep_packaging.errors import AnswerError, PipelineError, WeakPassword

MIN_PASSWORD = 12
MIN_DIGITS = 20  # of ten each: as hard to guess as 12 of letters and digits
MAX_PASSWORD = 1024
MAX_HOST = 253
MAX_FIELD = 64  # ub-organization-name of RFC 5280
DEFAULT_LOGIN = "admin"
HOST_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z")  # as the server has it
# Guessed first by everybody who guesses, also with digits and signs after them. "change..." are the example's own.
COMMON = (
    *(
        "password",
        "passwort",
        "motdepasse",
        "passw0rd",
        "p@ssword",
        "p@ssw0rd",
        "secret",
        "letmein",
        "welcome",
        "qwerty",
    ),
    *("azerty", "qwertz", "iloveyou", "admin", "administrator", "root", "toor", "master", "monkey", "dragon", "login"),
    *(
        "abc",
        "abcdef",
        "test",
        "guest",
        "default",
        "changeme",
        "change-me",
        "change-this-password",
        "xtremweb",
        "xwhep",
    ),
    *("xwadmin", "xwadminp", "xwworker", "xwworkerp", "adminp", "grid", "server", "football", "sunshine", "princess"),
)
COUNTRIES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""  # ISO 3166-1, two letters


@dataclass(frozen=True, kw_only=True)
class Answers:
    """`server` is the name that workers and clients connect to; an empty password lets one be made."""

    server: str
    admin_login: str = DEFAULT_LOGIN
    admin_password: str = ""
    organisation: str = ""
    unit: str = ""
    place: str = ""
    country: str = ""

    def __repr__(self) -> str:  # a password never reaches a log by accident
        return f"Answers({self.server}, {self.admin_login})"


def from_values(values: Mapping[str, str], *, insecure_demo: bool = False) -> Answers:
    """The answers that a file gives.

    Raises:
        AnswerError: one has the wrong form, or XWSERVER is not set.
        WeakPassword: and this is no insecure demo.
    """
    given = {field: values[key] for key, field in ANSWERS.items() if values.get(key)}
    return checked(given, insecure_demo=insecure_demo)


def checked(given: Mapping[str, str], *, insecure_demo: bool = False) -> Answers:
    """Raises: AnswerError, WeakPassword; the message names the key of the file."""
    normal = {name: normal_answer(name, value) for name, value in given.items() if value}
    if not normal.get("server"):
        raise AnswerError("XWSERVER is not set", next_step="set it to the name that workers and clients connect to")
    answers = Answers(**normal)
    weakness = weakness_of(answers.admin_password, answers.admin_login)
    if answers.admin_password and weakness and not insecure_demo:
        raise WeakPassword(
            f"XWADMINPASSWORD is refused: {weakness}",
            next_step="leave it empty to have one made, choose another, or say insecure_demo=1 for a throw-away grid",
        )
    return answers


def key_of(name: str) -> str:
    return next(key for key, answer in ANSWERS.items() if answer == name)


def normal_answer(name: str, value: str) -> str:
    """One answer in its normal form.

    Raises:
        AnswerError: it has the wrong form.
    """
    match name:
        case "server":
            return host_name(value)
        case "admin_login":
            return _login(value)
        case "admin_password":
            return _printable(name, value, MAX_PASSWORD)
        case "country":
            return _country(value)
        case _:
            return _printable(name, value, MAX_FIELD)


def host_name(text: str) -> str:
    """A DNS name in lower case, or an address.

    Raises:
        AnswerError: it is neither.
    """
    lowered = text.strip().lower().rstrip(".")
    address = _address(lowered)
    if address:
        return address
    labels = lowered.split(".")
    looks_like_an_address = all(label.isdigit() for label in labels)
    if len(lowered) > MAX_HOST or looks_like_an_address or not all(HOST_LABEL.match(label) for label in labels):
        raise AnswerError(
            f"XWSERVER: {text[:80]!r} is no host name",
            cause="letters, digits and - in labels of at most 63, with dots between; no scheme and no port",
            next_step="write it as grid.example.org; names with other letters in their xn-- form",
        )
    return lowered


def _address(text: str) -> str:
    """An address in its normal form; empty when it is none that one can connect to from elsewhere."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    return "" if "%" in text or address.is_unspecified or address.is_multicast else str(address)


def _login(text: str) -> str:
    if not LOGIN.match(text):
        raise AnswerError(
            f"XWADMINLOGIN: {text[:80]!r} is no login",
            cause="a letter or digit, then letters, digits and . _ @ + -, at most 64",
            next_step="choose another, such as admin",
        )
    return text


def _country(text: str) -> str:
    if text.upper() not in COUNTRIES.split():
        raise AnswerError(
            f"CERTC: {text[:80]!r} is no country",
            cause="the two letters of ISO 3166",
            next_step="write FR, DE, ...; GB for the United Kingdom",
        )
    return text.upper()


def _printable(name: str, text: str, limit: int) -> str:
    if not text.isprintable() or len(text) > limit:
        raise AnswerError(f"{key_of(name)} has more than {limit} characters, or some that are not printable")
    return text


def weakness_of(password: str, login: str) -> str:
    """Why a password is guessed soon, in words that do not repeat it; empty when nothing speaks against it."""
    lowered = password.lower()
    bare = lowered.strip("0123456789!?.,;:*#$%&+=_- ")
    if lowered == login.lower() or bare == login.lower():
        return "it is the login"
    if lowered in COMMON or bare in COMMON:
        return "it is on every list of passwords to try first"
    if not bare and len(password) < MIN_DIGITS:
        return f"it is made of digits and signs alone, and shorter than {MIN_DIGITS}"
    if len(password) < MIN_PASSWORD:
        return f"it is shorter than {MIN_PASSWORD} characters"
    if len(set(lowered)) < MIN_PASSWORD // 2:
        return "it repeats a few characters"
    return ""


def differences(one: Answers, other: Answers) -> list[str]:
    """The keys whose answers differ; an empty password means "as it is"."""
    names = [field.name for field in fields(Answers)]
    found = [name for name in names if getattr(one, name) != getattr(other, name)]
    unsaid = not one.admin_password or not other.admin_password
    return [key_of(name) for name in found if not (name == "admin_password" and unsaid)]


def explained(error: PipelineError) -> str:
    """An error as one line, for somebody who can answer again."""
    return ": ".join(part for part in (error.what, error.cause) if part)
