"""Token buckets: so many tries at once, then so many a minute."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

MAX_KEYS = 10_000  # an attacker with many addresses must not fill the memory


@dataclass(frozen=True, kw_only=True)
class Rate:
    burst: int
    per_s: float


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


def sender_of(address: str) -> str:
    """Whom an address stands for: itself, or in IPv6 the network (/64) of all that one machine may choose from."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


class Throttle:
    """Counts tries by key; `clock` gives seconds that never go back."""

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def wait_s(self, key: str) -> float:
        """Take one try; 0 when it may go on, else the seconds until the next may."""
        bucket = self._refilled(key)
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._rate.per_s
        bucket.tokens -= 1
        return 0.0

    def give_back(self, key: str) -> None:
        """The try was a good one and does not count."""
        bucket = self._refilled(key)
        bucket.tokens = min(self._rate.burst, bucket.tokens + 1)

    def _refilled(self, key: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MAX_KEYS:
                self._forget_full(now)
            bucket = self._buckets[key] = _Bucket(self._rate.burst, now)
        bucket.tokens = min(self._rate.burst, bucket.tokens + (now - bucket.at) * self._rate.per_s)
        bucket.at = now
        return bucket

    def _forget_full(self, now: float) -> None:
        full_after = self._rate.burst / self._rate.per_s
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if now - bucket.at < full_after}
        while len(self._buckets) >= MAX_KEYS:  # all of them busy: the longest quiet ones go first
            self._buckets.pop(min(self._buckets, key=lambda key: self._buckets[key].at))
