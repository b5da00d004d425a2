"""The part of the wire that is about who: users, groups, rights, tokens, the audit log. Import it from `wire`."""

from __future__ import annotations

import msgspec

PROTOCOL_VERSION = 1


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every message. Each class repeats frozen and kw_only because type checkers do not see them inherited."""


class ErrorBody(Model, frozen=True, kw_only=True):
    code: str
    message: str
    next_step: str = ""


class Health(Model, frozen=True, kw_only=True):
    status: str  # "ok"
    version: str
    protocol: int = PROTOCOL_VERSION


class Ready(Model, frozen=True, kw_only=True):
    status: str  # "ready"


class Login(Model, frozen=True, kw_only=True):
    login: str
    password: str


class Session(Model, frozen=True, kw_only=True):
    token: str
    login: str
    expires_at: float


class User(Model, frozen=True, kw_only=True):
    login: str
    role: str  # "admin" | "user"
    groups: list[str] = []
    active: bool = True  # False: can neither log in nor use a token


class UserSpec(Model, frozen=True, kw_only=True):
    login: str
    password: str
    role: str = "user"
    groups: list[str] = []  # they must exist


class UserChange(Model, frozen=True, kw_only=True):
    """What is None stays. A new password, and active=False, end the user's sessions."""

    password: str | None = None
    role: str | None = None
    groups: list[str] | None = None
    active: bool | None = None


class PasswordChange(Model, frozen=True, kw_only=True):
    old: str
    new: str


class GroupSpec(Model, frozen=True, kw_only=True):
    name: str
    members: list[str] = []  # logins


class Group(GroupSpec, frozen=True, kw_only=True):
    created_at: float


class GroupChange(Model, frozen=True, kw_only=True):
    """Either all members from now on, or who joins and who leaves: that is right also when two change at once."""

    members: list[str] | None = None
    add: list[str] = []
    remove: list[str] = []


class Mode(Model, frozen=True, kw_only=True):
    """`mode` is the nine bits of a file's mode; `group` the owning group: None leaves it, empty takes it away."""

    mode: int
    group: str | None = None


class TokenInfo(Model, frozen=True, kw_only=True):
    """A token without its secret. `subject` is a login, a worker's name, or for a join token whom it makes workers for
    ("everyone", "group NAME", or the owner's login)."""

    id: str
    kind: str  # "session" | "worker" | "join"
    subject: str
    created_at: float
    expires_at: float = 0.0  # 0: does not expire
    last_used_at: float = 0.0  # 0: never
    current: bool = False  # the one that asked


class JoinSpec(Model, frozen=True, kw_only=True):
    """A new join token. What enrols with it belongs to `owner` and runs the jobs that `visibility` says."""

    visibility: str = "public"  # "public" | "group" | "private"
    owner: str = ""  # a login; needed when private
    group: str = ""  # needed when "group"
    valid_s: float = 0.0  # 0: until revoked
    replace: bool = False  # this is the deployment's new public token, and its old one is void


class JoinToken(Model, frozen=True, kw_only=True):
    id: str
    token: str  # shown this once
    expires_at: float = 0.0


class AuditEntry(Model, frozen=True, kw_only=True):
    at: float
    who: str  # a login, or "console" for a command on the server's machine
    act: str  # "user add", "token revoke", ...
    subject: str
    detail: str = ""
