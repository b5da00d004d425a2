"""What administrators do with users and groups, and what anybody does with his own account."""

from __future__ import annotations

import math

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from xwhep.common.errors import InvalidRequest, NotAllowed
from xwhep.common.wire import Ack, GroupChange, GroupSpec, PasswordChange, UserChange, UserSpec
from xwhep.server.auth import UserPrincipal
from xwhep.server.checks import LOGIN, check_name, refuse, seconds, whole_number
from xwhep.server.http import address_of, answer, body_of, grid_of, user_of
from xwhep.server.identity import MAX_PASSWORD, MIN_PASSWORD, token_hash
from xwhep.server.logs import log_event
from xwhep.server.store.identity_records import Act, UserUpdate
from xwhep.server.store.records import Account

MAX_GROUPS = 1000
MAX_MEMBERS = 10_000
MAX_AUDIT = 10_000
ROLES = ("admin", "user")


async def admin_of(request: Request) -> UserPrincipal:
    """Raises: NotAllowed, AuthenticationFailed."""
    user = await user_of(request)
    if not user.is_admin:
        raise NotAllowed("this is for administrators", "ask one of them")
    return user


def check_login(login: str) -> None:
    refuse(not LOGIN.fullmatch(login), f"{login[:64]!r} cannot be a login: letters, digits and . _ @ + -, 64 at most")


def _check_password(password: str) -> None:
    refuse(
        not MIN_PASSWORD <= len(password) <= MAX_PASSWORD,
        f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters",
    )
    try:
        password.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("a password is proper Unicode text", "choose another") from None


def _check_role(role: str) -> None:
    refuse(role not in ROLES, f"a role is one of {', '.join(ROLES)}")


def _check_groups(groups: list[str]) -> None:
    refuse(len(groups) > MAX_GROUPS, f"a user is in at most {MAX_GROUPS} groups")
    for name in groups:
        check_name(name, "the group")


def _check_members(members: list[str]) -> None:
    refuse(len(members) > MAX_MEMBERS, f"a group has at most {MAX_MEMBERS} members")
    for login in members:
        check_login(login)


async def list_users(request: Request) -> Response:
    await admin_of(request)
    return answer(await grid_of(request).store.people.users())


async def add_user(request: Request) -> Response:
    admin, grid = await admin_of(request), grid_of(request)
    spec = await body_of(request, UserSpec)
    check_login(spec.login)
    _check_password(spec.password)
    _check_role(spec.role)
    _check_groups(spec.groups)
    account = Account(login=spec.login, role=spec.role, password_hash=await grid.door.hash(spec.password))
    detail = f"role {spec.role}, groups {' '.join(spec.groups)}".rstrip(" ")
    act = Act(who=admin.login, act="user add", subject=spec.login, detail=detail)
    return answer(await grid.store.identity.add_user(account, spec.groups, act))


async def change_user(request: Request) -> Response:
    admin, grid = await admin_of(request), grid_of(request)
    login = request.path_params["login"]
    change = await body_of(request, UserChange)
    if change.role is not None:
        _check_role(change.role)
    _check_groups(change.groups or [])
    if change.password is not None:
        _check_password(change.password)
    update = UserUpdate(
        role=change.role or "",
        password_hash=await grid.door.hash(change.password) if change.password is not None else "",
        groups=None if change.groups is None else tuple(change.groups),
        active=change.active,
    )
    act = Act(who=admin.login, act="user change", subject=login, detail=_described(change))
    user = await grid.store.identity.change_user(login, update, act)
    grid.auth.forget_user(login)
    return answer(user)


def _described(change: UserChange) -> str:
    parts = ["password" if change.password is not None else "", f"role {change.role}" if change.role else ""]
    if change.groups is not None:
        parts.append(f"groups {' '.join(change.groups) or 'none'}")
    if change.active is not None:
        parts.append("activated" if change.active else "deactivated")
    return ", ".join(part for part in parts if part)


async def change_password(request: Request) -> Response:
    user, grid = await user_of(request), grid_of(request)
    given = await body_of(request, PasswordChange)
    refuse(len(given.old) > MAX_PASSWORD, "this cannot be a password")
    _check_password(given.new)
    await grid.door.check(user.login, given.old, address_of(request))
    kept = token_hash(request.headers.get("authorization", "").partition(" ")[2])
    update = UserUpdate(password_hash=await grid.door.hash(given.new), kept_session=kept)
    await grid.store.identity.change_user(user.login, update, None)
    grid.auth.forget_user(user.login)
    log_event("password changed", login=user.login, address=address_of(request))
    return answer(Ack())


async def list_groups(request: Request) -> Response:
    user = await user_of(request)
    return answer(await grid_of(request).store.identity.groups(user.sees))


async def add_group(request: Request) -> Response:
    admin, grid = await admin_of(request), grid_of(request)
    spec = await body_of(request, GroupSpec)
    check_name(spec.name, "the group")
    _check_members(spec.members)
    act = Act(who=admin.login, act="group add", subject=spec.name, detail=" ".join(spec.members)[:1000])
    group = await grid.store.identity.add_group(spec.name, spec.members, act)
    grid.auth.forget_all()
    return answer(group)


async def change_group(request: Request) -> Response:
    admin, grid = await admin_of(request), grid_of(request)
    name, change = request.path_params["name"], await body_of(request, GroupChange)
    refuse(
        (change.members is not None) == bool(change.add or change.remove),
        "a change of a group has either members, or add and remove",
    )
    refuse(bool(set(change.add) & set(change.remove)), "nobody joins and leaves at once")
    _check_members([*(change.members or []), *change.add, *change.remove])
    act = Act(who=admin.login, act="group change", subject=name, detail=_members_described(change)[:1000])
    group = await grid.store.identity.change_group(name, change, act)
    grid.auth.forget_all()
    return answer(group)


def _members_described(change: GroupChange) -> str:
    if change.members is not None:
        return " ".join(change.members)
    return " ".join([*(f"+{login}" for login in change.add), *(f"-{login}" for login in change.remove)])


async def audit(request: Request) -> Response:
    await admin_of(request)
    query = request.query_params
    since = seconds(query.get("since", "0"), "since", math.inf)
    limit = whole_number(query.get("limit", "100"), "limit", MAX_AUDIT)
    return answer(await grid_of(request).store.identity.audit(since, limit))


ROUTES = [
    Route("/v1/users", list_users),
    Route("/v1/users", add_user, methods=["POST"]),
    Route("/v1/users/{login}", change_user, methods=["POST"]),
    Route("/v1/me/password", change_password, methods=["POST"]),
    Route("/v1/groups", list_groups),
    Route("/v1/groups", add_group, methods=["POST"]),
    Route("/v1/groups/{name}", change_group, methods=["POST"]),
    Route("/v1/audit", audit),
]
