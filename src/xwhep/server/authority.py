"""The deployment's own certificate authority, and the server certificate it signs.

    first start:   ca.key, ca.pem ── signs ──► server.pem (its key, then its certificate)
    later starts:  other names or addresses, or soon to expire ──► a new server.pem from the same authority

The keys are EC P-256, which every TLS 1.3 client takes.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

from xwhep.server.authority_files import AuthorityFiles

RENEW_BEFORE = timedelta(days=30)


def ensure_certificates(files: AuthorityFiles, names: frozenset[str]) -> bool:
    """Make what is missing or no longer fits `names`; True when a certificate was issued."""
    if files.ca_pem.exists() and _still_good(files, names):
        return False
    from xwhep.server import signing  # noqa: PLC0415 - slow to import, and most starts sign nothing

    if not files.ca_pem.exists():
        signing.make_authority(files)
    signing.issue(files, names)
    return True


def recorded_names(files: AuthorityFiles) -> frozenset[str]:
    """What the present certificate is for; nothing when that is not known."""
    try:
        return frozenset(json.loads(files.record.read_bytes())["names"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return frozenset()


def _still_good(files: AuthorityFiles, names: frozenset[str]) -> bool:
    try:
        record = json.loads(files.record.read_bytes())
        digest = hashlib.sha256(files.server_pem.read_bytes()).hexdigest()
        good_until = datetime.fromtimestamp(record["not_after"], UTC) - RENEW_BEFORE
        same = record["names"] == sorted(names) and record["sha256"] == digest
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
    return bool(same) and datetime.now(UTC) < good_until
