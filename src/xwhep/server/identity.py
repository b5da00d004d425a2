"""Passwords and tokens. Tokens are random, so a plain hash hides them; passwords are not, so argon2id does."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

USER_TOKEN = "xwu_"  # noqa: S105 - a prefix
WORKER_TOKEN = "xww_"  # noqa: S105
JOIN_TOKEN = "xwj_"  # noqa: S105
TOKEN_BYTES = 32
MIN_PASSWORD = 8
MAX_PASSWORD = 1024

# OWASP's second choice: 22 ms on one core and little memory, so that a burst of logins cannot starve a small server.
_TIME_COST = 2
_MEMORY_KIB = 19 * 1024


def new_token(prefix: str) -> str:
    """A secret of 256 bits; the prefix tells whose it is, to people and to scanners for leaked secrets."""
    return prefix + secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """What the store keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def hash_password(password: str) -> str:
    """argon2id, 22 ms: call it in a thread."""
    hashed: str = _hasher().hash(password)
    return hashed


def password_matches(password_hash: str, password: str) -> bool:
    """As slow as hash_password: call it in a thread."""
    from argon2.exceptions import InvalidHash, VerificationError  # type: ignore[import-untyped] # noqa: PLC0415

    try:
        return bool(_hasher().verify(password_hash, password))
    except (VerificationError, InvalidHash):
        return False


def _hasher() -> Any:
    from argon2 import PasswordHasher, Type  # type: ignore[import-untyped] # noqa: PLC0415 - most starts need it not

    return PasswordHasher(time_cost=_TIME_COST, memory_cost=_MEMORY_KIB, parallelism=1, type=Type.ID)
