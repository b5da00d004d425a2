"""A new certificate of the same authority: a running server takes it; who trusts the authority notices nothing."""

from __future__ import annotations

import socket
import ssl
import time

import pytest

TAKEN_WITHIN_S = 2.0


def served(live) -> bytes:
    """The certificate that a new connection gets, verified by the authority."""
    context = ssl.create_default_context(cafile=str(live.state / "ca.pem"))
    with context.wrap_socket(socket.create_connection(("127.0.0.1", live.port)), server_hostname="localhost") as tls:
        return tls.getpeercert(binary_form=True)


def wait_for_another(live, old: bytes) -> bytes:
    until = time.monotonic() + TAKEN_WITHIN_S
    while (now := served(live)) == old and time.monotonic() < until:
        time.sleep(0.05)
    return now


def test_a_new_certificate_is_taken_without_a_restart(live):
    boss, worker = live.admin(), live.worker()
    authority, first = (live.state / "ca.pem").read_bytes(), served(live)
    assert worker.ask().status == 204
    made = live.run_command("rotate", "certificate")
    assert made.returncode == 0, made
    assert "localhost" in made.stdout
    second = wait_for_another(live, first)
    assert second != first
    assert (live.state / "ca.pem").read_bytes() == authority
    assert worker.ask().status == 204  # on the connection that it has
    worker.close()
    assert worker.ask().status == 204  # and on a new one, with the same authority
    assert boss.get("/v1/audit").body[0]["act"] == "certificate rotate"
    assert (live.state / "server.pem").stat().st_mode & 0o777 == 0o600


def test_a_restart_keeps_the_new_certificate(live):
    first = served(live)
    live.run_command("rotate", "certificate")
    second = wait_for_another(live, first)
    assert second != first
    live.stop()
    live.start()
    assert served(live) == second


def test_a_damaged_certificate_is_not_taken_and_the_old_one_serves_on(live):
    first = served(live)
    pem = live.state / "server.pem"
    pem.write_bytes(b"no certificate\n")
    time.sleep(1.2)
    assert served(live) == first
    assert "certificate" in live.log()
    live.run_command("rotate", "certificate")
    assert wait_for_another(live, first) != first


@pytest.mark.parametrize("words", [("rotate",), ("rotate", "authority")])
def test_only_the_certificate_is_rotated(stopped, words):
    assert stopped.run_command(*words).returncode == 2


def test_there_must_be_a_grid_to_rotate(stopped):
    made = stopped.run_command("rotate", "certificate")
    assert made.returncode != 0
    assert "there is no grid" in made.stderr
