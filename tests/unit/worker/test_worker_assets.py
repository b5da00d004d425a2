import logging
from pathlib import Path

import pytest

from xwhep.worker.assets import Assets, read_asset


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.toml"
    file.write_text(text)
    return file


def test_a_whole_description(tmp_path: Path) -> None:
    file = write(tmp_path, "a", 'name = "adder"\ncommand = ["/bin/sh", "-c"]\nversion = "2"\nfolders = ["/srv/x"]\n')
    asset = read_asset(file)
    assert (asset.name, asset.executable, asset.arguments) == ("adder", Path("/bin/sh"), ("-c",))
    assert (asset.version, asset.folders) == ("2", (Path("/srv/x"),))


def test_a_command_is_looked_up(tmp_path: Path) -> None:
    assert read_asset(write(tmp_path, "a", 'name = "a"\ncommand = ["sh"]\n')).executable.is_absolute()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('name = "a"\ncommand = ["/no/such"]', "not installed"),
        ('name = "a"\ncommand = ["/etc/passwd"]', "not executable"),
        ('name = "a"\ncommand = "sh -c"', "list of texts"),
        ('name = "a"\ncommand = []', "needs a name"),
        ('command = ["sh"]', "needs a name"),
        ('name = 1\ncommand = ["sh"]', "needs a name"),
        ('name = "a"\ncommand = ["sh"]\ncomand = 1', "unknown key 'comand'"),
        ("= broken", "Invalid"),
    ],
)
def test_what_is_no_asset(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_asset(write(tmp_path, "a", text))


def test_one_bad_file_is_logged_once_and_hides_no_good_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "bad", "x = 1")
    write(tmp_path, "good", 'name = "good"\ncommand = ["sh"]')
    assets = Assets(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert list(assets.installed()) == ["good"]
        assert list(assets.installed()) == ["good"]
    assert len(caplog.records) == 1


def test_an_asset_comes_and_goes_without_a_restart(tmp_path: Path) -> None:
    assets = Assets(tmp_path / "later")
    assert assets.installed() == {}
    (tmp_path / "later").mkdir()
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    write(tmp_path / "later", "a", f'name = "a"\ncommand = ["{program}"]')
    assert list(assets.installed()) == ["a"]
    program.unlink()
    assert assets.installed() == {}
