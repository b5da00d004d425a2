"""Trust and identity: how `xw` gets them, keeps them, and what it refuses."""

import json
import stat

import pytest

from xwhep.common import errors, trust


def state_of(xw):
    return xw.folder.parent / "home/.config/xwhep"


def test_a_piped_join_line_logs_in(stranger, grid):
    done = stranger("login", stdin=f"  {grid.join_line}\n".encode())
    assert done.code == 0, done.err
    saved = state_of(stranger) / "client.json"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert stat.S_IMODE(saved.parent.stat().st_mode) == 0o700
    assert json.loads(saved.read_text())["login"] == "alice"
    assert json.loads(stranger("whoami", "--format", "json").out).items() >= {"login": "alice", "role": "admin"}.items()


def test_the_whole_printed_command_may_be_pasted(stranger, grid):
    assert stranger("login", stdin=f"echo '{grid.join_line}' | xw login\n".encode()).code == 0


def test_a_join_line_from_a_file_that_others_can_read_is_refused(stranger, grid):
    file = stranger.folder / "line"
    file.write_text(grid.join_line)
    file.chmod(0o604)
    refused = stranger("login", "--file", "line")
    assert refused.code == errors.UsageError.exit_code
    assert "chmod 600 line" in refused.err
    file.chmod(0o600)
    assert stranger("login", "--file", "line").code == 0


@pytest.mark.parametrize(
    "text", ["", "hello", "xwhep-join-1 https://h:1 sha256:00 token"], ids=["empty", "no", "short"]
)
def test_what_is_no_join_line_is_refused_and_not_repeated(stranger, text):
    done = stranger("login", stdin=text.encode())
    assert done.code == errors.UsageError.exit_code
    assert "no join line" in done.err
    assert "token" not in done.err


def test_login_by_password_needs_the_fingerprint_once(stranger, grid):
    fingerprint = trust.fingerprint(grid.pki.authority)
    host = grid.address.removeprefix("https://")
    refused = stranger("login", host, "--user", "alice", stdin=b"s3cret\n")
    assert refused.code == errors.UsageError.exit_code
    assert "--fingerprint" in refused.err
    assert stranger("login", host, "--fingerprint", fingerprint, "--user", "alice", stdin=b"s3cret\n").code == 0
    assert stranger("logout").code == 0
    assert stranger("whoami").code == errors.AuthenticationFailed.exit_code
    assert stranger("login", "--user", "alice", stdin=b"s3cret").code == 0
    assert stranger("whoami").code == 0


def test_the_system_wide_file_makes_a_name_enough(stranger, grid, tmp_path):
    (tmp_path / "ca.pem").write_text(grid.pki.authority)
    (tmp_path / "client.toml").write_text(f'address = "{grid.address}"\nauthority = "ca.pem"\n')
    assert stranger("login", "--user", "alice", stdin=b"s3cret\n").code == 0
    assert grid.requests == ["POST /v1/login", "GET /v1/me"]


@pytest.mark.parametrize("text", ['adress = "x"', "address = 3", "address ="], ids=["unknown", "type", "syntax"])
def test_a_wrong_system_wide_file_is_named(stranger, tmp_path, text):
    (tmp_path / "client.toml").write_text(text)
    done = stranger("whoami")
    assert done.code == errors.UsageError.exit_code
    assert str(tmp_path / "client.toml") in done.err


def test_a_bound_machine_needs_no_login(stranger, grid, tmp_path):
    (tmp_path / "join").write_text(grid.join_line)
    (tmp_path / "join").chmod(0o600)
    (tmp_path / "client.toml").write_text('join_file = "join"\n')
    assert stranger("whoami").code == 0


def test_wrong_password(stranger, grid):
    fingerprint = trust.fingerprint(grid.pki.authority)
    done = stranger("login", grid.address, "--fingerprint", fingerprint, "--user", "alice", stdin=b"guess\n")
    assert done.code == errors.AuthenticationFailed.exit_code
    assert done.err == "xw: error [authentication]: login or password is wrong\nnext: xw login\n"
    assert not (state_of(stranger) / "client.json").exists()


def test_a_revoked_token(xw, grid):
    grid.tokens.clear()
    done = xw("job", "list")
    assert done.code == errors.AuthenticationFailed.exit_code
    assert "next: xw login" in done.err


def test_another_fingerprint_is_not_trusted(stranger, grid):
    host = grid.address.removeprefix("https://")
    done = stranger("login", host, "--fingerprint", "sha256:" + "0" * 64, stdin=b"s3cret\n")
    assert done.code == errors.UntrustedCertificate.exit_code
    assert "POST /v1/login" not in grid.requests


def test_another_server_at_the_same_address_is_not_trusted(xw, grid, tmp_path):
    grid.stop()
    grid.pki = grid.new_pki(tmp_path)
    grid.requests.clear()
    grid.start()
    done = xw("job", "list")
    assert done.code == errors.UntrustedCertificate.exit_code
    assert "is not the one you trust" in done.err
    assert not grid.requests


def test_a_name_that_is_not_in_the_certificate_is_not_trusted(xw, grid):
    saved = state_of(xw) / "client.json"
    saved.write_text(saved.read_text().replace("https://localhost", "https://127.0.0.2"))
    grid.stop()
    # The test server listens at 127.0.0.1 only; its neighbour address reaches it when it listens at all of them.
    grid.start(host="0.0.0.0")
    assert xw("job", "list").code == errors.UntrustedCertificate.exit_code


def test_refused_connection(xw, grid):
    grid.stop()
    done = xw("job", "list")
    assert done.code == errors.ConnectionFailed.exit_code
    assert f"cannot reach the server at {grid.address}: nothing listens there" in done.err


def test_an_unknown_host(stranger):
    done = stranger("login", "nowhere.invalid", "--fingerprint", "sha256:" + "0" * 64, stdin=b"x\n")
    assert done.code == errors.ConnectionFailed.exit_code


def test_not_logged_in(stranger):
    done = stranger("app", "list")
    assert done.code == errors.AuthenticationFailed.exit_code
    assert "not logged in" in done.err


def test_a_join_line_in_the_environment_is_enough(stranger, grid):
    assert stranger("whoami", XWHEP_JOIN=grid.join_line).code == 0
    assert stranger("whoami", XWHEP_JOIN=grid.join_line).code == 0
    assert grid.requests.count("GET /v1/ca") == 1  # the second run has it on disk
    (kept,) = state_of(stranger).iterdir()
    assert "t0ken" not in kept.read_text()


def test_a_damaged_kept_authority_is_fetched_again(stranger, grid):
    assert stranger("whoami", XWHEP_JOIN=grid.join_line).code == 0
    (kept,) = state_of(stranger).iterdir()
    kept.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert stranger("whoami", XWHEP_JOIN=grid.join_line).code == 0


def test_a_folder_that_cannot_be_written_does_not_matter_to_a_join_line(stranger, grid, tmp_path):
    (tmp_path / "file").write_text("")
    state = str(tmp_path / "file" / "below")
    assert stranger("whoami", XWHEP_JOIN=grid.join_line, XWHEP_CLIENT_STATE=state).code == 0


def test_a_join_file_from_the_environment(stranger, grid, tmp_path):
    (tmp_path / "join").write_text(grid.join_line)
    (tmp_path / "join").chmod(0o600)
    assert stranger("whoami", XWHEP_JOIN_FILE=str(tmp_path / "join")).code == 0
    done = stranger("whoami", XWHEP_JOIN_FILE=str(tmp_path / "none"))
    assert done.code == errors.UsageError.exit_code


def test_the_state_folder_can_be_chosen(stranger, grid, tmp_path):
    assert stranger("login", stdin=grid.join_line.encode(), XWHEP_CLIENT_STATE=str(tmp_path / "s")).code == 0
    assert (tmp_path / "s/client.json").exists()
    assert stranger("login", stdin=grid.join_line.encode(), XDG_CONFIG_HOME=str(tmp_path / "x")).code == 0
    assert (tmp_path / "x/xwhep/client.json").exists()


def test_a_session_file_that_others_can_read_is_refused(xw):
    saved = state_of(xw) / "client.json"
    saved.chmod(0o644)
    done = xw("whoami")
    assert done.code == errors.UsageError.exit_code
    assert str(saved) in done.err
    assert "chmod 600" in done.err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"address": 1}', "\x00"])
def test_a_damaged_session_file_is_named(xw, text):
    saved = state_of(xw) / "client.json"
    saved.write_text(text)
    done = xw("whoami")
    assert done.code == errors.UsageError.exit_code
    assert f"{saved} is damaged" in done.err


def test_version_with_and_without_a_server(stranger, grid):
    assert json.loads(stranger("version", "--format", "json").out)["server"] is None
    assert "not logged in" in stranger("version").out
    stranger("login", stdin=grid.join_line.encode())
    assert json.loads(stranger("version", "--format", "json").out)["server"] == "11.0.0+test"
    grid.stop()
    gone = stranger("version")
    assert gone.code == 0
    assert "nothing listens there" in gone.out


def test_no_message_holds_a_secret(xw, grid):
    grid.stop()
    for words in (["whoami"], ["version"], ["job", "list"]):
        done = xw(*words, XWHEP_DEBUG="1")
        assert "t0ken" not in done.out + done.err
