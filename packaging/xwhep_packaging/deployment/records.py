"""A deployment in memory. Nothing here shows a secret when it is printed."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

ROLES = ("server", "worker", "client")
PORT = 4321
NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}\Z"  # part of image labels and file names

Seconds = Annotated[int, Meta(ge=1, le=253402300799)]  # UTC, up to the year 9999


class Package(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role's conf package: counts up, with the time, whenever what it holds changes."""

    serial: Annotated[int, Meta(ge=1)]
    changed: Seconds


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """deployment.toml: what the administrator answered, and times; no secret. `created` is in every version."""

    name: Annotated[str, Meta(pattern=NAME_PATTERN)]
    server: str
    admin_login: str
    created: Seconds
    certificate_until: Seconds
    packages: dict[str, Package]
    organisation: str = ""
    unit: str = ""
    place: str = ""
    country: str = ""
    insecure_demo: bool = False


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """admin.json. `password` stays in the folder; packages get the hash alone."""

    login: str
    password: str
    password_hash: str

    def __repr__(self) -> str:
        return f"Login({self.login})"


class JoinToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of join.json: lets workers in; they are `public`, or belong to one group of users."""

    id: str
    token: str
    token_hash: str
    visibility: str = "public"
    group: str = ""

    def __repr__(self) -> str:
        return f"JoinToken({self.id})"


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """Key and certificate, both PEM."""

    key: bytes
    certificate: bytes

    def __repr__(self) -> str:
        return "Authority(...)"


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `authorities` are newest first; `digest_key` hides contents in keys of the pipeline."""

    about: About
    authorities: tuple[Authority, ...]
    server_pem: bytes
    admin: Login
    joins: tuple[JoinToken, ...]
    digest_key: bytes

    def __repr__(self) -> str:
        return f"Deployment({self.about!r})"
