"""What the identity part of the store takes and gives, where the wire models do not fit."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

DEPLOYMENT = "deployment"  # id of the join token that lies in the state folder


@dataclass(frozen=True, kw_only=True)
class Act:
    """A line of the audit log. No part of it is ever a secret."""

    who: str
    act: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class UserUpdate:
    """What is None or empty stays. `kept_session`: hash of the one token that a new password does not end."""

    role: str = ""
    password_hash: str = ""
    groups: tuple[str, ...] | None = None
    active: bool | None = None
    kept_session: str = ""


@dataclass(frozen=True, kw_only=True)
class ModeChange:
    kind: str  # "app" | "datum" | "job"
    id: str
    mode: int
    group: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """Whose jobs a worker runs: everyone's, those of the members of its group, or its owner's."""

    visibility: str = "public"  # "public" | "group" | "private"
    group: str = ""
    owner: str = ""
    members: frozenset[str] = frozenset()  # of the group, when that decides
    draining: bool = False  # ends what it has, and gets no more

    @property
    def serves(self) -> frozenset[str] | None:
        """The logins whose jobs it runs; None for everyone's."""
        if self.visibility == "private":
            return frozenset({self.owner})
        return self.members if self.visibility == "group" else None

    def shows_to(self, login: str, groups: Collection[str]) -> bool:
        """Whether a user who is no administrator may know of the worker."""
        if self.visibility == "public" or (self.owner and self.owner == login):
            return True
        return self.visibility == "group" and self.group in groups


PUBLIC = Service()


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    id: str
    name: str
    service: Service
    is_next: bool  # it was found by the token that a rotation offered


@dataclass(frozen=True, kw_only=True)
class JoinRecord:
    id: str
    token_hash: str
    service: Service
    expires_at: float = 0.0  # 0: never


@dataclass(frozen=True, kw_only=True)
class Revoked:
    id: str
    kind: str  # "session" | "worker" | "join"
    subject: str
