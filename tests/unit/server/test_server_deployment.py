"""A server bound to a deployment by the files of its package: certificates, logins and join tokens come from there."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from deployed import Authority, Deployed
from xwhep.common.authority import fetch_authority
from xwhep.common.join import parse_join_line
from xwhep.common.trust import context_trusting, fingerprint
from xwhep.server import keeper
from xwhep.server.authority_files import AuthorityFiles
from xwhep.server.settings import load_settings

TAKEN_WITHIN_S = 2.0


@pytest.fixture
def deployed(fast_folder) -> Deployed:
    return Deployed(fast_folder / "etc")


class Bound:
    """A server with the deployment's folder, and callers that trust what they were told to."""

    def __init__(self, server: Any, deployed: Deployed) -> None:
        self.server, self.deployed, self.trusted = server, deployed, deployed.server / "ca.pem"

    def start(self) -> None:
        self.server.start("--deployment", str(self.deployed.server))

    def restart(self) -> None:
        self.server.stop()
        self.start()

    def run_command(self, *words: str, **more: str) -> Any:
        return self.server.run_command(*words, "--deployment", str(self.deployed.server), **more)

    def api(self, token: str = "") -> Any:
        api = self.server.api(token)
        api.ca = self.trusted
        return api

    def try_login(self, login: str, password: str) -> Any:
        return self.api().post("/v1/login", {"login": login, "password": password})

    def login(self, login: str, password: str) -> Any:
        reply = self.try_login(login, password)
        assert reply.status == 200, reply
        return self.api(reply.body["token"])

    def enrol(self, token: str = "join-token-1") -> Any:
        machine = {"os": "linux", "arch": "x86_64", "cpu_count": 1, "cpu_model": "", "ram_bytes": 1 << 30}
        machine |= {"disk_free_bytes": 1 << 30, "version": "11.0.0"}
        return self.api().post("/v1/enrol", {"join_token": token, "name": "node", "machine": machine})

    def worker(self) -> Any:
        reply = self.enrol()
        assert reply.status == 200, reply
        return self.api(reply.body["token"])


@pytest.fixture
def bound(stopped, deployed) -> Bound:
    made = Bound(stopped, deployed)
    made.start()
    return made


def test_nothing_that_the_deployment_brings_is_made(bound) -> None:
    made = {path.name for path in bound.server.state.iterdir()}
    assert not made & {"ca.key", "ca.pem", "server.pem", "server.json", "admin.login"}
    boss = bound.login("boss", "password of boss")
    assert boss.get("/v1/me").body["role"] == "admin"
    assert [user["login"] for user in boss.get("/v1/users").body] == ["boss"]
    assert boss.get("/v1/ca").raw.decode() == bound.deployed.authority.pem
    assert bound.worker().ask().status == 204


def test_join_lines_lead_to_the_deployments_authority(bound) -> None:
    port = bound.server.port
    for role in ("worker", "client"):
        printed = bound.run_command("join-line", role, "--address", f"localhost:{port}").stdout
        line = parse_join_line(printed)
        assert fetch_authority(line.address, line.fingerprint) == bound.deployed.authority.pem
        if role == "worker":
            assert bound.enrol(line.token).status == 200
        else:
            assert bound.api(line.token).get("/v1/me").body["login"] == "boss"
    assert "https://xwserver.test:4321" in bound.run_command("join-line", "worker").stdout


def test_the_workers_join_line_is_the_deployments(bound) -> None:
    """Renewed or taken back with it: no second token lets workers in beside it."""
    line = parse_join_line(bound.run_command("join-line", "worker").stdout)
    assert line.token == "join-token-1"
    bound.deployed.joins(second="join-token-2")
    bound.deployed.write_worker_line("join-token-2")
    bound.restart()
    assert parse_join_line(bound.run_command("join-line", "worker").stdout).token == "join-token-2"
    assert bound.enrol(line.token).status == 401
    assert bound.enrol("join-token-2").status == 200


def test_tokens_without_a_line_leave_the_one_of_the_first_start(stopped, deployed) -> None:
    """Of a package that an earlier release made."""
    (deployed.server / "worker.join").unlink()
    bound = Bound(stopped, deployed)
    bound.start()
    token = parse_join_line(bound.run_command("join-line", "worker").stdout).token
    assert token == (stopped.state / "join.token").read_text().strip()
    assert bound.enrol(token).status == 200


def test_a_password_changed_since_survives_a_restart(bound) -> None:
    boss = bound.login("boss", "password of boss")
    assert boss.post("/v1/me/password", {"old": "password of boss", "new": "another password"}).status < 300
    bound.restart()
    assert bound.try_login("boss", "password of boss").status == 401
    assert bound.login("boss", "another password")


def test_a_password_renewed_with_the_deployment_counts_and_ends_sessions(bound) -> None:
    boss = bound.login("boss", "password of boss")
    bound.deployed.admin("boss", "renewed password")
    assert boss.get("/v1/me").status == 200  # until the restart
    bound.restart()
    assert boss.get("/v1/me").status == 401
    assert bound.try_login("boss", "password of boss").status == 401
    renewed = bound.login("boss", "renewed password")
    acts = [(entry["who"], entry["act"], entry["subject"]) for entry in renewed.get("/v1/audit").body]
    assert acts.count(("deployment", "take over", "login boss")) == 2


def test_another_administrator_takes_the_place_of_the_first(bound) -> None:
    bound.deployed.admin("chief", "password of chief")
    bound.restart()
    users = {
        user["login"]: user.get("active", True)
        for user in bound.login("chief", "password of chief").get("/v1/users").body
    }
    assert users == {"boss": False, "chief": True}
    assert bound.try_login("boss", "password of boss").status == 401


def test_further_users_come_and_go(bound) -> None:
    bound.deployed.users(ann="user", eve="admin")
    bound.restart()
    assert bound.login("ann", "password of ann").get("/v1/me").body["role"] == "user"
    assert bound.login("eve", "password of eve").get("/v1/me").body["role"] == "admin"
    bound.deployed.users(ann="user")
    bound.restart()
    assert bound.try_login("eve", "password of eve").status == 401
    (bound.deployed.server / "admin.json").unlink()
    (bound.deployed.server / "users.json").unlink()
    bound.restart()  # a package without logins takes none away
    assert bound.login("ann", "password of ann")
    assert bound.login("boss", "password of boss")


def test_a_rotated_join_token_voids_the_old_and_workers_keep_theirs(bound) -> None:
    worker = bound.worker()
    bound.deployed.joins(first="join-token-2")
    bound.restart()
    assert bound.enrol("join-token-1").status == 401
    assert bound.enrol("join-token-2").status == 200
    assert worker.ask().status == 204
    bound.deployed.joins(second="join-token-2")  # the same under another id
    bound.restart()
    assert bound.enrol("join-token-2").status == 200
    bound.deployed.joins()
    bound.restart()
    assert bound.enrol("join-token-2").status == 401
    assert worker.ask().status == 204


def test_a_join_token_that_was_revoked_stays_so_until_it_is_another(bound) -> None:
    boss = bound.login("boss", "password of boss")
    assert boss.call("DELETE", "/v1/tokens/deployment-first").status == 204
    bound.restart()
    assert bound.enrol().status == 401
    bound.deployed.joins(first="join-token-2")
    bound.restart()
    assert bound.enrol("join-token-2").status == 200


def test_a_join_token_for_a_group_makes_the_group(bound) -> None:
    path = bound.deployed.server / "join.json"
    bound.deployed.write(path, path.read_text().replace('"public", "group": ""', '"group", "group": "lab"'))
    bound.restart()
    assert bound.enrol().status == 200
    boss = bound.login("boss", "password of boss")
    assert [group["name"] for group in boss.get("/v1/groups").body] == ["lab"]
    assert [(one["visibility"], one["group"]) for one in boss.get("/v1/workers").body] == [("group", "lab")]


def served(bound, authority: str, name: str = "xwserver.test") -> bytes:
    """The certificate that a client gets which trusts `authority` alone, as strictly as the newest Python checks."""
    context = context_trusting(authority)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", bound.server.port)) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        return tls.getpeercert(binary_form=True)


@pytest.mark.parametrize("name", ["xwhep grid authority", "another name"])
def test_a_renewed_authority_is_accepted_by_those_that_know_the_old_one(bound, name) -> None:
    old, new = bound.deployed.authority, Authority(name)
    worker, first, line = bound.worker(), served(bound, old.pem), bound.deployed.join_line(bound.server.port)
    bound.deployed.renew_authority(new)
    until = time.monotonic() + TAKEN_WITHIN_S
    while served(bound, old.pem) == first and time.monotonic() < until:  # without a restart
        time.sleep(0.05)
    assert served(bound, new.pem) == served(bound, old.pem) != first
    with pytest.raises(ssl.SSLCertVerificationError):
        served(bound, Authority().pem)
    bound.trusted = bound.server.state.parent / "old.pem"
    bound.trusted.write_text(old.pem)
    bound.restart()
    worker.ca = bound.trusted
    assert worker.ask().status == 204
    assert fetch_authority(line.address, line.fingerprint) == old.pem  # an old line still joins
    assert fetch_authority(line.address, fingerprint(new.pem)) == new.pem
    assert parse_join_line(bound.run_command("join-line", "worker").stdout).fingerprint == fingerprint(new.pem)


def test_the_authority_of_a_first_start_may_be_renewed_so(live) -> None:
    certificate = x509.load_pem_x509_certificate((live.state / "ca.pem").read_bytes())
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length >= 1


def test_the_certificate_is_not_rotated_here(bound) -> None:
    made = bound.run_command("rotate", "certificate")
    assert made.returncode == 2
    assert "renew it with the deployment" in made.stderr


def start_fails(server, deployed) -> tuple[int, str]:
    done = server.run_command("run", "--listen", "127.0.0.1:0", "--deployment", str(deployed.server))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", ["server.pem", "admin.json", "join.json", "worker.join"])
def test_a_secret_that_everybody_can_read_is_refused(stopped, deployed, name) -> None:
    deployed.server.chmod(0o755)
    (deployed.server / name).chmod(0o644)
    code, said = start_fails(stopped, deployed)
    assert code == 23
    assert str(deployed.server / name) in said
    deployed.server.chmod(0o750)  # nobody else passes through the folder: as a mounted one may be
    Bound(stopped, deployed).start()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("admin.json", "{"),
        ("admin.json", '{"login": "boss"}'),
        ("admin.json", '{"login": "boss", "password_hash": "password"}'),
        ("admin.json", '{"login": "../boss", "password_hash": "$argon2id$"}'),
        ("users.json", '[{"login": "boss", "password_hash": "$argon2id$", "role": "user"}]'),
        ("users.json", '[{"login": "ann", "password_hash": "$argon2id$", "role": "king"}]'),
        ("join.json", "[1]"),
        ("join.json", '[{"id": "x", "token_hash": "short"}]'),
        ("join.json", f'[{{"id": "a/b", "token_hash": "{"0" * 64}"}}]'),
        ("join.json", f'[{{"id": "x", "token_hash": "{"0" * 64}", "visibility": "group"}}]'),
        ("join.json", f'[{{"id": "x", "token_hash": "{"0" * 64}", "visibility": "private"}}]'),
        ("join.json", "\xff"),
        ("worker.join", "xwhep-join-1 https://grid:4321"),
        ("worker.join", "\xff"),
        ("ca.pem", ""),
        ("server.pem", "no certificate"),
        ("server.toml", "nam = 1"),
        ("server.toml", 'deployment = "/elsewhere"'),
        ("server.toml", "= ="),
    ],
)
def test_a_damaged_deployment_is_refused_by_name_and_starts_nothing(stopped, deployed, name, text) -> None:
    deployed.write(deployed.server / name, text)
    code, said = start_fails(stopped, deployed)
    assert code == 2
    assert name in said or "login" in said
    assert str(deployed.server) in said
    assert not stopped.state.exists()


def test_users_need_an_administrator(stopped, deployed) -> None:
    deployed.users(ann="user")
    (deployed.server / "admin.json").unlink()
    assert start_fails(stopped, deployed)[0] == 2


def test_a_folder_with_certificates_alone_binds_these_alone(stopped, deployed) -> None:
    """As a secret may be mounted: the rest is as at any first start."""
    for name in ("admin.json", "join.json", "worker.join", "server.toml"):
        (deployed.server / name).unlink()
    bound = Bound(stopped, deployed)
    bound.start()
    login, password = (stopped.state / "admin.login").read_text().split()
    assert bound.login(login, password)
    assert not (stopped.state / "ca.key").exists()


def test_a_folder_with_logins_alone_leaves_the_authority_to_the_first_start(stopped, deployed) -> None:
    for name in ("ca.pem", "server.pem"):
        (deployed.server / name).unlink()
    bound = Bound(stopped, deployed)
    bound.start()
    bound.trusted = stopped.state / "ca.pem"
    assert bound.login("boss", "password of boss")
    assert (stopped.state / "ca.key").exists()
    assert bound.run_command("rotate", "certificate").returncode == 0


def test_a_running_grid_can_be_bound_later(live, deployed) -> None:
    worker, user = live.worker(), live.user("ann")
    live.stop()
    bound = Bound(live, deployed)
    bound.start()
    worker.ca = user.ca = bound.trusted
    assert worker.ask().status == 204
    assert user.get("/v1/me").body["login"] == "ann"
    assert bound.login("boss", "password of boss")


def test_settings_of_the_deployment_are_below_all_others(deployed, tmp_path) -> None:
    deployed.write(
        deployed.server / "server.toml", 'name = ["x"]\nlost_limit = 1\nlease_seconds = 1\nmetrics = "token"\n'
    )
    own = tmp_path / "server.toml"
    own.write_text(f'lost_limit = 2\nlease_seconds = 2\nmetrics = "loopback"\ndeployment = "{deployed.server}"\n')
    environ = {"XWHEP_SERVER_LEASE_SECONDS": "3", "XWHEP_SERVER_METRICS": "loopback"}
    settings = load_settings({"config": str(own), "metrics": "token"}, environ)
    assert settings.name == ("x",)
    assert (settings.lost_limit, settings.lease_seconds, settings.metrics) == (2, 3, "token")
    shutil.rmtree(deployed.server)
    assert load_settings({"config": str(own)}, {}).name == ()


def test_the_folder_may_be_named_by_the_environment(stopped, deployed, monkeypatch) -> None:
    monkeypatch.setattr(
        stopped,
        "environment",
        lambda real=stopped.environment: real() | {"XWHEP_SERVER_DEPLOYMENT": str(deployed.server)},
    )
    stopped.start()
    bound = Bound(stopped, deployed)
    assert bound.login("boss", "password of boss")


@pytest.mark.parametrize(("days", "told"), [(30, False), (200, True)])
def test_the_end_of_the_deployments_certificate_is_told_in_time(deployed, monkeypatch, caplog, days, told) -> None:
    files = AuthorityFiles(folder=deployed.server)
    before = files.server_pem.read_bytes()
    monkeypatch.setattr(keeper, "RENEW_BEFORE", timedelta(days=days))
    keeper.Keeper(grid=None, context=None, files=files, names=None)._look_after_end()
    assert ("renew it and install its package" in caplog.text) == told
    assert files.server_pem.read_bytes() == before
