"""Logins and join tokens of the deployment's package, taken over at the start.

new or changed in the package   ─► as the package says; a login's sessions end, an old join token is void
unchanged since it was taken    ─► left alone: a password changed since then stays changed, a revoked token revoked
no longer in the package        ─► the login is not active any more, the join token is void

Workers that have enrolled keep tokens of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import msgspec

from xwhep.server.deployment import DeployedJoin, DeployedLogin, Deployment
from xwhep.server.store.identity_records import Act
from xwhep.server.store.records import Account
from xwhep.server.store.sqlite_database import Tx
from xwhep.server.store.sqlite_identity import note
from xwhep.server.store.sqlite_people import add_user

WHO = "deployment"  # who acts, in the audit log
_LOGIN, _JOIN = "login ", "join "


def take_over(tx: Tx, deployment: Deployment) -> None:
    known = {row["part"]: row["digest"] for row in tx.all("deployment_parts")}
    wanted: dict[str, tuple[str, Callable[[], None]]] = {}
    for login in deployment.logins or ():
        wanted[_LOGIN + login.login] = (_digest(login), partial(_save_login, tx, login))
    for join in deployment.joins or ():
        wanted[_JOIN + join.id] = (_digest(join), partial(_save_join, tx, join))
    for part in known.keys() - wanted.keys():  # first: a token may come back under another id
        _drop(tx, part, deployment)
    for part, (digest, save) in wanted.items():
        if known.get(part) != digest:
            save()
            tx.run("deployment_set", part=part, digest=digest)
            note(tx, Act(who=WHO, act="take over", subject=part))


def join_id(name: str) -> str:
    """The id that the token is listed under: never that of the state folder's own."""
    return f"deployment-{name}"


def _digest(part: msgspec.Struct) -> str:
    return hashlib.sha256(msgspec.json.encode(part)).hexdigest()


def _save_login(tx: Tx, given: DeployedLogin) -> None:
    if tx.one("user_get", login=given.login) is None:
        add_user(tx, Account(login=given.login, role=given.role, password_hash=given.password_hash))
        return
    tx.run("user_change", login=given.login, role=given.role, password_hash=given.password_hash, active=1)
    tx.run("user_end_sessions", login=given.login, kept="")


def _save_join(tx: Tx, given: DeployedJoin) -> None:
    if given.group and tx.one("group_get", name=given.group) is None:
        tx.run("group_add", name=given.group, now=tx.now)
    tx.one("join_revoke", id=join_id(given.id), login="")
    fields = {"visibility": given.visibility, "owner": "", "group": given.group, "expires_at": 0.0}
    tx.run("join_add", id=join_id(given.id), token_hash=given.token_hash, now=tx.now, **fields)


def _drop(tx: Tx, part: str, deployment: Deployment) -> None:
    name = part.partition(" ")[2]
    if part.startswith(_LOGIN):
        if deployment.logins is None:  # the package says nothing about logins, rather than that there are none
            return
        if row := tx.one("user_get", login=name):
            tx.run("user_change", login=name, role=row["role"], password_hash=row["password_hash"], active=0)
        tx.run("user_end_sessions", login=name, kept="")
    else:
        if deployment.joins is None:
            return
        tx.one("join_revoke", id=join_id(name), login="")
    tx.run("deployment_forget", part=part)
    note(tx, Act(who=WHO, act="take back", subject=part))
