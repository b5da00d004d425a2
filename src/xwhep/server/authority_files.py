"""Where the authority's keys and certificates are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class AuthorityFiles:
    """Where the keys and certificates are."""

    folder: Path

    @property
    def ca_key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def ca_pem(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server_pem(self) -> Path:
        """Key and certificate in one file: two could be of different ages after a crash."""
        return self.folder / "server.pem"

    @property
    def record(self) -> Path:
        """What server.pem says, in JSON, so that a start need not parse certificates."""
        return self.folder / "server.json"
