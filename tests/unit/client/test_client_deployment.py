"""xw bound to a deployment by the files of its package: it knows the grid, and nobody's login."""

from __future__ import annotations

import pytest

from xwhep.client import credentials
from xwhep.common.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The deployment's folder, on a machine without any other setting."""
    for name in ("XWHEP_JOIN", "XWHEP_JOIN_FILE", "XWHEP_CLIENT_STATE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XWHEP_CLIENT_CONFIG", str(tmp_path / "client.toml"))
    monkeypatch.setenv("XWHEP_CLIENT_DEPLOYMENT", str(tmp_path / "deployment"))
    (tmp_path / "deployment").mkdir()
    return tmp_path / "deployment"


def bind(folder, address: str = "https://grid:1", pem: str = "PEM") -> None:
    (folder / "client.toml").write_text(f'address = "{address}"\nauthority = "ca.pem"\n')
    (folder / "ca.pem").write_text(pem)


def test_the_deployment_says_where_the_grid_is(folder) -> None:
    assert credentials.system_settings() == ("", "", "")
    bind(folder)
    assert credentials.system_settings() == ("https://grid:1", "PEM", "")


def test_the_machines_own_file_comes_first_key_by_key(folder, tmp_path) -> None:
    bind(folder)
    (tmp_path / "own.pem").write_text("OWN")
    (tmp_path / "client.toml").write_text('authority = "own.pem"\njoin_file = "/join"\n')
    assert credentials.system_settings() == ("https://grid:1", "OWN", "/join")


def test_for_another_grid_the_deployments_authority_does_not_count(folder, tmp_path) -> None:
    bind(folder)
    (tmp_path / "client.toml").write_text('address = "https://other:1"\n')
    assert credentials.system_settings() == ("https://other:1", "", "")


def test_a_wrong_file_of_the_deployment_is_named(folder) -> None:
    (folder / "client.toml").write_text('adress = "x"')
    with pytest.raises(UsageError, match=r"deployment/client\.toml"):
        credentials.system_settings()


def test_a_password_is_enough_to_log_in(stranger, grid, folder) -> None:
    bind(folder, grid.address, grid.pki.authority)
    done = stranger(
        "login", "--user", "alice", stdin=b"s3cret\n", XWHEP_CLIENT_DEPLOYMENT=str(folder), XWHEP_CLIENT_CONFIG="/none"
    )
    assert done.code == 0, done.err
    assert "logged in" in done.out
