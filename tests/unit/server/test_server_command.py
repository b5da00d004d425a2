"""The command xwhep-server as people type it: its output, its exit codes, its one sentence for each failure."""

from __future__ import annotations

import json
import socket
import stat
import subprocess

import pytest

from xwhep.common.authority import fetch_authority
from xwhep.common.errors import ALL_ERRORS, XwhepError
from xwhep.common.join import parse_join_line
from xwhep.common.trust import fingerprint
from xwhep.common.version import VERSION
from xwhep.server.failures import COMMAND_FAILURES

SECRETS = ("ca.key", "server.pem", "admin.login", "join.token", "xwhep.db")


def pasted(output: str, command: str) -> str:
    """What `echo '...' | command` would feed to the command, by the shell itself."""
    assert output.endswith(f"' | {command}\n")
    assert output.count("\n") == 1
    line = output.rsplit(" | ", 1)[0]
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout


def test_every_failure_has_an_exit_code_of_its_own():
    codes = [error.exit_code for error in (*ALL_ERRORS, *COMMAND_FAILURES, XwhepError)]
    assert len(set(codes)) == len(codes)
    assert len({error.code for error in (*ALL_ERRORS, *COMMAND_FAILURES)}) == len(codes) - 1


def test_version_and_help(stopped):
    assert stopped.run_command("--help").returncode == 0
    result = subprocess.run(
        [*stopped.command("version")[:-2]], capture_output=True, text=True, env=stopped.environment(), check=False
    )
    assert (result.returncode, result.stdout) == (0, f"xwhep-server {VERSION}\n")
    for words in (("run",), ("join-line",), ("user",), ("user", "add"), ("user", "list"), ("version",)):
        assert "usage: xwhep-server" in stopped.run_command(*words, "--help").stdout


def test_a_command_loads_nothing_that_only_the_server_needs(stopped):
    """asyncio alone is a quarter of what a command costs."""
    program = "import sys, xwhep.server.main; print({'asyncio', 'cryptography', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run(
        [stopped.command()[0], "-c", program], capture_output=True, text=True, env=stopped.environment(), check=True
    )
    assert done.stdout == "set()\n"


def test_the_first_start_makes_secrets_that_only_the_owner_reads(stopped):
    stopped.start()
    assert stat.S_IMODE(stopped.state.stat().st_mode) == 0o700
    for name in SECRETS:
        assert stat.S_IMODE((stopped.state / name).stat().st_mode) == 0o600, name
    login, password = (stopped.state / "admin.login").read_text().splitlines()
    assert login == "admin"
    assert len(password) >= 24


def test_a_pasted_worker_line_leads_to_the_server_and_enrols(live):
    result = live.run_command("join-line", "worker", "--address", f"localhost:{live.port}")
    line = parse_join_line(pasted(result.stdout, "xwhep-worker join"))
    pem = fetch_authority(line.address, line.fingerprint)
    assert pem == (live.state / "ca.pem").read_text()
    assert line.token == (live.state / "join.token").read_text().strip()


def test_a_pasted_client_line_is_a_session_of_the_admin_while_the_server_runs(live):
    result = live.run_command("join-line", "client", "--address", f"localhost:{live.port}")
    line = parse_join_line(pasted(result.stdout, "xw login"))
    assert line.fingerprint == fingerprint((live.state / "ca.pem").read_text())
    assert live.api(line.token).get("/v1/me").body == {"login": "admin", "role": "admin"}


@pytest.mark.parametrize(
    ("flags", "address"),
    [
        ((), f"https://{socket.gethostname()}:4321"),
        (("--name", "grid.example.org,other"), "https://grid.example.org:4321"),
        (("--name", "grid", "--listen", "0.0.0.0:99"), "https://grid:99"),
        (("--name", "2001:db8::1"), "https://[2001:db8::1]:4321"),
        (("--address", "away:1"), "https://away:1"),
    ],
)
def test_the_address_in_a_join_line(live, flags, address):
    assert f" {address} " in live.run_command("join-line", "worker", *flags).stdout


def test_users_are_added_by_a_password_on_standard_input(live):
    live.user("ann")
    assert live.run_command("user", "add", "root2", "--admin", stdin="long enough\n").returncode == 0
    assert live.run_command("user", "list").stdout == "admin\tadmin\nann\tuser\nroot2\tadmin\n"
    again = live.run_command("user", "add", "ann", stdin="another password\n")
    assert (again.returncode, again.stdout) == (8, "")
    assert "there is a user ann already" in again.stderr


@pytest.mark.parametrize(("login", "password"), [("ann", "short"), ("../ann", "long enough"), ("", "long enough")])
def test_bad_users_are_refused(live, login, password):
    assert live.run_command("user", "add", login, stdin=f"{password}\n").returncode in (2, 10)
    assert live.run_command("user", "list").stdout == "admin\tadmin\n"


def failing(server, *words: str) -> tuple[int, str]:
    """Exit code and message of a command that must fail, with one sentence and no traceback."""
    result = server.run_command(*words)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    message = [line for line in result.stderr.splitlines() if line.startswith("xwhep-server: ")]
    assert len(message) == 1, result.stderr
    return result.returncode, message[0]


def test_a_taken_port_is_20(stopped):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, message = failing(stopped, "run", "--listen", f"127.0.0.1:{port}")
    assert code == 20
    assert f"another program listens at 127.0.0.1:{port}" in message


def test_an_address_of_another_machine_is_21(stopped):
    assert failing(stopped, "run", "--listen", "192.0.2.1:4321")[0] == 21


def test_a_state_folder_that_cannot_be_made_is_22(stopped):
    stopped.state = stopped.state.parent / "file" / "state"
    stopped.state.parent.write_text("a file, where a folder is needed")
    code, message = failing(stopped, "run", "--listen", "127.0.0.1:0")
    assert code == 22
    assert str(stopped.state) in message


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_others_can_read_is_23_and_named(live, name):
    live.kill()
    (live.state / name).chmod(0o640)
    code, message = failing(live, "run", "--listen", "127.0.0.1:0")
    assert code == 23
    assert str(live.state / name) in message


def test_a_state_folder_that_others_can_write_is_23(live):
    live.kill()
    live.state.chmod(0o777)
    assert failing(live, "run", "--listen", "127.0.0.1:0")[0] == 23


def test_a_join_token_that_others_can_read_is_not_printed(live):
    (live.state / "join.token").chmod(0o644)
    assert failing(live, "join-line", "worker")[0] == 23


def test_a_second_server_on_the_same_state_is_24(live):
    code, message = failing(live, "run", "--listen", "127.0.0.1:0")
    assert code == 24
    assert str(live.state) in message


@pytest.mark.parametrize("words", [("join-line", "worker"), ("join-line", "client"), ("user", "list")], ids=" ".join)
def test_before_the_first_start_commands_say_so(stopped, words):
    code, message = failing(stopped, *words)
    assert code == 26
    assert "no grid" in message
    assert not stopped.state.exists()


def test_a_damaged_database_is_27(live):
    live.kill()
    for part in live.state.glob("xwhep.db*"):
        part.unlink()
    (live.state / "xwhep.db").write_bytes(b"this is no database" * 1000)
    (live.state / "xwhep.db").chmod(0o600)
    assert failing(live, "run", "--listen", "127.0.0.1:0")[0] == 27


def test_a_wrong_setting_is_2(stopped):
    assert failing(stopped, "run", "--lease-seconds", "never")[0] == 2


def test_logs_can_be_json(stopped):
    stopped.process = subprocess.Popen(
        [*stopped.command("run"), "--listen", "127.0.0.1:0", "--log-format", "json"],
        stderr=subprocess.PIPE,
        text=True,
        env=stopped.environment(),
    )
    events = []
    for line in stopped.process.stderr:
        events.append(json.loads(line))
        if events[-1]["event"] == "ready":
            break
    assert all({"time", "level", "event"} <= event.keys() for event in events)
    stopped.process.stderr.close()
