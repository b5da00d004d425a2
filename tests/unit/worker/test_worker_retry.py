import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep.common.errors import AuthenticationFailed, ConnectionFailed, UntrustedCertificate
from xwhep.worker import retry
from xwhep.worker.flag import Flag
from xwhep.worker.retry import Backoff, Stopped, patiently
from xwhep.worker.session import Away


@given(st.floats(0, 1), st.integers(0, 200))
def test_waits_grow_up_to_the_cap_and_are_spread_over_half_of_it(chance: float, failures: int) -> None:
    backoff = Backoff(first_s=1, cap_s=30, spread=lambda: chance)
    backoff.failures = failures
    ceiling = min(30, 2.0 ** min(failures, 40))
    assert ceiling / 2 <= backoff.next_s() <= ceiling
    assert backoff.failures == failures + 1


def test_a_success_starts_again_from_short_waits() -> None:
    backoff = Backoff(first_s=1, cap_s=30, spread=lambda: 1)
    assert [backoff.next_s() for _ in range(6)] == [1, 2, 4, 8, 16, 30]
    backoff.reset()
    assert backoff.next_s() == 1


def test_never_sooner_than_the_server_asked_for_but_not_for_ever() -> None:
    assert Backoff(spread=lambda: 0).next_s(at_least_s=7) == 7
    assert Backoff(spread=lambda: 0).next_s(at_least_s=1e9) == retry.RETRY_AFTER_CAP_S


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Backoff, "next_s", lambda self, at_least_s=0.0: (setattr(self, "failures", self.failures + 1), 0.001)[1]
    )


@pytest.mark.usefixtures("fast")
def test_it_goes_on_until_it_works_and_logs_little(caplog: pytest.LogCaptureFixture) -> None:
    failures = [Away("gone")] * 15 + [UntrustedCertificate("other")] * 5

    def action() -> str:
        if failures:
            raise failures.pop()
        return "done"

    with caplog.at_level(logging.WARNING):
        assert patiently(action, Flag(), "trying") == "done"
    assert len(caplog.records) == 2


@pytest.mark.usefixtures("fast")
def test_what_does_not_pass_is_raised() -> None:
    def action() -> None:
        raise AuthenticationFailed("revoked")

    with pytest.raises(AuthenticationFailed):
        patiently(action, Flag(), "trying")


@pytest.mark.usefixtures("fast")
def test_at_a_join_another_certificate_does_not_pass() -> None:
    def action() -> None:
        raise UntrustedCertificate("other")

    with pytest.raises(UntrustedCertificate):
        patiently(action, Flag(), "joining", (ConnectionFailed,))


def test_the_flag_ends_it_also_in_the_middle_of_a_wait() -> None:
    stop = Flag()

    def action() -> None:
        stop.set()
        raise Away("gone", retry_after_s=500)

    with pytest.raises(Stopped):
        patiently(action, stop, "trying")
