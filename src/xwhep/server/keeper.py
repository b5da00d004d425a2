"""What the running server looks after besides leases: its certificate, and when sessions were used.

    xwhep-server rotate certificate ─► a new server.pem ─► seen here within a second ─► the next handshake has it

The authority stays, so workers and clients notice nothing. Connections that are open keep what they agreed on.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime

from xwhep.common.errors import XwhepError
from xwhep.server.authority import RENEW_BEFORE, ensure_certificates
from xwhep.server.authority_files import AuthorityFiles
from xwhep.server.grid import Grid
from xwhep.server.logs import log_event, log_problem

TICK_S = 0.5
SAVE_EVERY_S = 5.0
RENEW_EVERY_S = 3600.0


@dataclass(kw_only=True)
class Keeper:
    """`names`: what the certificate is for; None when it is the deployment's, which is renewed with it."""

    grid: Grid
    context: ssl.SSLContext
    files: AuthorityFiles
    names: frozenset[str] | None
    _loaded: tuple[int, int, int] = field(init=False)
    _save_at: float = 0.0
    _renew_at: float = 0.0

    def __post_init__(self) -> None:
        self._loaded = self._version()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._renew_at = loop.time() + RENEW_EVERY_S
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._tick(loop.time())
            except (OSError, ssl.SSLError, XwhepError) as error:  # what serves now goes on; the next tick tries again
                log_problem("looking after the certificate or the sessions failed", error=error)

    async def _tick(self, now: float) -> None:
        if now >= self._renew_at:  # a server that runs for a year renews without a restart
            self._renew_at = now + RENEW_EVERY_S
            await asyncio.to_thread(self._look_after_end)
        self.reload_certificate()
        if now >= self._save_at:
            self._save_at = now + SAVE_EVERY_S
            await self.grid.auth.save_used()

    def _look_after_end(self) -> None:
        if self.names is not None:
            ensure_certificates(self.files, self.names)
            return
        from xwhep.server.signing import ends_at  # noqa: PLC0415 - slow to import, and a start needs it not

        if datetime.now(UTC) > (end := ends_at(self.files.server_pem)) - RENEW_BEFORE:
            log_problem("the deployment's certificate ends soon: renew it and install its package", end=end)

    def reload_certificate(self) -> bool:
        """Take a new server.pem for the connections to come; True when there was one."""
        version = self._version()
        if version == self._loaded:
            return False
        self._loaded = version  # also when it is broken: one line in the log, not two a second
        self.context.load_cert_chain(self.files.server_pem)
        log_event("certificate loaded", file=self.files.server_pem)
        return True

    def _version(self) -> tuple[int, int, int]:
        status = self.files.server_pem.stat()
        # The last one too: a package unpacks the file, and gives it to our user a moment later.
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns
