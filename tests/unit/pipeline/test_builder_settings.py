"""Sources by builder, images by description, a store for each product."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xwhep_packaging import settings as settings_module
from xwhep_packaging.definitions import CommandSource, DebianSource, StdebSource, own_packages
from xwhep_packaging.errors import SettingsError
from xwhep_packaging.settings import Settings

Load = Callable[..., Settings]
STDEB = '\n[sources.app]\nbuilder = "stdeb"\n'
COMMAND = '\n[sources.own]\nbuilder = "command"\ncommand = ["make"]\ndebs = ["*.deb"]\n'
IMAGE = '\n[images.two]\ndebs = { grid = ["grid"] }\n'


def test_each_builder_has_its_own_form(load: Load) -> None:
    sources = load(more=STDEB + COMMAND).sources
    assert isinstance(sources["grid"], DebianSource)
    assert isinstance(sources["app"], StdebSource)
    assert isinstance(sources["own"], CommandSource)
    assert [source.builder for source in sources.values()] == ["debian", "stdeb", "command"]
    assert not sources["own"].lint


@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param(
            STDEB + 'profiles = ["nodoc"]\n', ["[sources.app]", "'profiles'", "builder = 'debian'"], id="another's"
        ),
        pytest.param(COMMAND + 'overlay = "o"\n', ["[sources.own]", "'overlay'", "builder = 'stdeb'"], id="stdeb's"),
        pytest.param(STDEB + 'overlai = "o"\n', ["[sources.app]", "did you mean 'overlay'"], id="misspelt"),
        pytest.param(STDEB + 'sdist = "a.tar.gz"\n', ["sdist alone", "sha256sum"], id="no hash"),
        pytest.param(STDEB + f'sha256 = "{"0" * 64}"\n', ["sha256 alone"], id="no sdist"),
        pytest.param(
            '\n[sources.x]\nbuilder = "make"\n', ["builder is one of debian, stdeb, command"], id="no builder"
        ),
        pytest.param("\n[sources.x]\n", ["builder is one of"], id="builder missing"),
        pytest.param(
            '\n[sources.x]\nbuilder = "command"\ncommand = []\ndebs = ["a"]\n', ["length >= 1"], id="no command"
        ),
        pytest.param(
            COMMAND + '[[sources.own.services]]\ncomand = ["x"]\n', ["'comand'", "did you mean 'command'"], id="service"
        ),
        pytest.param(IMAGE, ["neither folder nor entrypoint"], id="image of nothing"),
        pytest.param(
            IMAGE + 'folder = "images/server"\nports = [80]\n', ["both a folder and ports"], id="image of both"
        ),
        pytest.param(IMAGE + 'command = ["x"]\nuser = "root"\n', ["[0-9]"], id="user by name"),
        pytest.param(IMAGE + 'command = ["x"]\nports = [0]\n', [">= 1"], id="port"),
        pytest.param(IMAGE + 'command = ["x"]\nvolumes = ["/a b"]\n', ["matching regex"], id="volume"),
        pytest.param(
            IMAGE + 'command = ["x"]\n[images.two.health]\ncommand = ["x"]\nretrys = 1\n',
            ["'retrys'", "retries"],
            id="health",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(load: Load, more: str, says: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(more=more)
    assert all(text in caught.value.report() for text in says), caught.value.report()


def test_described_image_is_enough(load: Load) -> None:
    image = load(more=IMAGE + 'entrypoint = ["/bin/true"]\n').images["two"]
    assert image.described == ["entrypoint"]


def test_stdeb_asks_for_its_own_tools() -> None:
    assert "python3-stdeb" in own_packages(StdebSource(build_packages=["gcc"]))
    assert own_packages(DebianSource(build_packages=["gcc"])) == ["gcc"]


def test_another_pipeline_file_has_a_store_of_its_own(load: Load, pipeline_file: Path) -> None:
    main = load()
    other = pipeline_file.with_name("other.toml")
    other.write_text(pipeline_file.read_text().replace('name = "grid"', 'name = "shop"'))
    found = load_file(other)
    assert main.store_folder == main.root_folder / "_build"
    assert found.store_folder == main.root_folder / "_build" / "products" / "shop"


def test_store_that_is_named_is_used(load: Load, pipeline_file: Path) -> None:
    other = pipeline_file.with_name("other.toml")
    load()
    other.write_text(pipeline_file.read_text() + '\n[store]\nfolder = "elsewhere"\n')
    assert load_file(other).store_folder.name == "elsewhere"


def load_file(file: Path) -> Settings:
    return settings_module.load(file, {})
