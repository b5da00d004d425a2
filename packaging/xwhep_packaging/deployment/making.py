"""New deployments, and the renewal of what is secret in one."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from xwhep_packaging.deployment import authority
from xwhep_packaging.deployment.answers import Answers
from xwhep_packaging.deployment.authority import SERVER_VALID, Subject
from xwhep_packaging.deployment.payload import payload
from xwhep_packaging.deployment.records import ROLES, About, Authority, Deployment, JoinToken, Login, Package
from xwhep_packaging.errors import AnswerError

PASSWORD_BYTES = 18  # 144 bits, 24 characters
TOKEN_BYTES = 32
TOKEN_PREFIX = "xwj_"  # noqa: S105 - tells people and scanners for leaked secrets what it is
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
ROTATIONS = ("server-key", "admin", "join-token", "authority", "forget-old-authority")
# OWASP's second choice, as the server itself hashes passwords.
TIME_COST, MEMORY_KIB = 2, 19 * 1024


def make(answers: Answers, name: str, now: int, *, insecure_demo: bool = False) -> Deployment:
    """A new deployment with secrets of its own."""
    about = About(
        name=name,
        server=answers.server,
        admin_login=answers.admin_login,
        created=now,
        certificate_until=_server_until(now),
        packages={role: Package(serial=1, changed=now) for role in ROLES},
        organisation=answers.organisation,
        unit=answers.unit,
        place=answers.place,
        country=answers.country,
        insecure_demo=insecure_demo,
    )
    authorities = (authority.make_authority(_subject(about), about.server, now),)
    return Deployment(
        about=about,
        authorities=authorities,
        server_pem=_server_pem(about, authorities, now),
        admin=new_login(answers.admin_login, answers.admin_password),
        joins=(new_join_token(),),
        digest_key=secrets.token_bytes(32),
    )


def rotated(deployment: Deployment, what: str, now: int, password: str = "") -> Deployment:
    """The deployment with one of its secrets renewed; an empty `password` lets one be made.

    Raises:
        AnswerError: `what` is none of ROTATIONS, or there is no old authority to forget.
    """
    # A clock that was set back must not give two packages one time, nor two authorities one name.
    now = max(now, *(package.changed + 1 for package in deployment.about.packages.values()))
    match what:
        case "server-key":
            renewed = _with_server_key(deployment, deployment.authorities, now)
        case "authority":
            about = deployment.about
            newest = authority.make_authority(_subject(about), about.server, now)
            renewed = _with_server_key(deployment, (newest, *deployment.authorities), now)
        case "forget-old-authority":
            renewed = _with_server_key(deployment, _newest_alone(deployment), now)
        case "admin":
            renewed = msgspec.structs.replace(deployment, admin=new_login(deployment.admin.login, password))
        case "join-token":
            old = deployment.joins[0]
            join = msgspec.structs.replace(new_join_token(), visibility=old.visibility, group=old.group)
            renewed = msgspec.structs.replace(deployment, joins=(join, *deployment.joins[1:]))
        case _:
            raise AnswerError(
                f"rotate={what[:40]} renews nothing", next_step=f"rotate= one of {', '.join(sorted(ROTATIONS))}"
            )
    return _counted_up(deployment, renewed, now)


def _counted_up(before: Deployment, after: Deployment, now: int) -> Deployment:
    """Only packages whose contents differ get a new serial and time; the others stay the same bytes."""
    packages = dict(before.about.packages)
    for role, package in before.about.packages.items():
        if payload(before, role) != payload(after, role):
            packages[role] = Package(serial=package.serial + 1, changed=now)
    return msgspec.structs.replace(after, about=msgspec.structs.replace(after.about, packages=packages))


def new_login(login: str, password: str) -> Login:
    """With a password that was chosen, or one that is made here."""
    from argon2 import PasswordHasher, Type  # type: ignore[import-untyped] # most calls need it not

    chosen = password or secrets.token_urlsafe(PASSWORD_BYTES)
    hasher = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=1, type=Type.ID)
    return Login(login=login, password=chosen, password_hash=hasher.hash(chosen))


def new_join_token() -> JoinToken:
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    return JoinToken(id=secrets.token_hex(6), token=token, token_hash=hashlib.sha256(token.encode("ascii")).hexdigest())


def _with_server_key(deployment: Deployment, authorities: tuple[Authority, ...], now: int) -> Deployment:
    about = msgspec.structs.replace(deployment.about, certificate_until=_server_until(now))
    pem = _server_pem(about, authorities, now)
    return msgspec.structs.replace(deployment, about=about, authorities=authorities, server_pem=pem)


def _newest_alone(deployment: Deployment) -> tuple[Authority, ...]:
    if len(deployment.authorities) == 1:
        raise AnswerError(
            "there is no old authority to forget", next_step="scripts/doit configure rotate=authority makes a new one"
        )
    return deployment.authorities[:1]


def _server_pem(about: About, authorities: tuple[Authority, ...], now: int) -> bytes:
    names = list(dict.fromkeys([about.server, *LOCAL_NAMES]))
    return authority.server_pem(authorities, _subject(about), names, now)


def _server_until(now: int) -> int:
    return now + int(SERVER_VALID.total_seconds())


def _subject(about: About) -> Subject:
    return Subject(organisation=about.organisation, unit=about.unit, place=about.place, country=about.country)
