"""Stage network_test: a verdict only when tests ran, none failed and none was skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from xwhep_packaging.artefacts import Manifest, Output
from xwhep_packaging.errors import EngineError, NetworkTestError, SettingsError
from xwhep_packaging.settings import NetworkTest, Settings
from xwhep_packaging.stages import network_test
from xwhep_packaging.stages.network_test import Part
from xwhep_packaging.store import Draft

DIGEST = "sha256:" + "a" * 64


class FakeEngine:
    """An engine whose address is only handed on: the tests below start no container."""

    name = "podman"
    lacks: tuple[str, ...] = ()
    weaker: tuple[str, ...] = ()

    def __init__(self, error: EngineError | None = None) -> None:
        self.error, self.is_serving = error, False

    def has_image(self, digest: str) -> bool:
        return True

    def take(self, digest: str, tags: tuple[str, ...], log: Path) -> None:
        """Nothing to do."""

    @contextmanager
    def serving(self, log: Path) -> Iterator[str]:
        if self.error:
            raise self.error
        self.is_serving = True
        yield "unix:///fake.sock"
        self.is_serving = False


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    folder = tmp_path / "draft"
    folder.mkdir()
    return Draft(folder=folder, log=tmp_path / "logs" / "network_test.log")


@pytest.fixture
def image(tmp_path: Path) -> Output:
    facts = {"digest": DIGEST}
    return Output(folder=tmp_path, manifest=Manifest(stage="images", name="server", key="k", inputs={}, facts=facts))


def on(engine: FakeEngine, image: Output, choice: str = "") -> network_test.Trial:
    return network_test.Trial(part=Part(stage="network_test", choice=choice), engine=engine, images=[image])


def with_tests(settings: Settings, content: str, timeout_s: int = 60) -> Settings:
    """The settings, and a folder of one test file for them."""
    folder = settings.root_folder / "tests" / "network"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test_small.py").write_text(content)
    return msgspec.structs.replace(settings, network_test=NetworkTest(timeout_s=timeout_s))


PASSES = """
import json, os, pathlib
def test_is_told_everything():
    assert os.environ["DOCKER_HOST"] == "unix:///fake.sock"
    assert os.environ["XWHEP_TEST_ENGINE"] == "podman"
    assert json.loads(os.environ["XWHEP_TEST_IMAGES"]) == {"server": "sha256:" + "a" * 64}
    output = pathlib.Path(os.environ["XWHEP_TEST_OUTPUT"])
    (output / "timings.json").write_text('{"ready_s": 0.5}')
def test_second():
    pass
"""

FINDS_NO_PLUGIN = """
def test_no_plugin(pytestconfig):
    assert pytestconfig.pluginmanager.list_plugin_distinfo() == []
"""


def test_no_plugin_of_the_callers_python_is_loaded(settings: Settings, image: Output, draft: Draft) -> None:
    network_test.make_network_test(with_tests(settings, FINDS_NO_PLUGIN), on(FakeEngine(), image), draft)
    assert draft.facts["verdict"] == "passed"


def test_verdict(settings: Settings, image: Output, draft: Draft) -> None:
    engine = FakeEngine()
    network_test.make_network_test(with_tests(settings, PASSES), on(engine, image), draft)
    assert draft.facts == {
        "engine": "podman",
        "verdict": "passed",
        "tests": 2,
        "skipped": 0,
        "timings": {"ready_s": 0.5},
    }
    assert len(list(ElementTree.parse(draft.folder / "junit.xml").getroot().iter("testcase"))) == 2
    assert not engine.is_serving


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        pytest.param("def test_one():\n    assert 1 == 2\n", "assert 1 == 2", id="a test fails"),
        pytest.param("", "no tests ran", id="no tests"),
        pytest.param("import pytest\n@pytest.mark.skip\ndef test_one(): pass\n", "1 skipped", id="all skipped"),
        pytest.param(
            "import pytest\ndef test_one(): pass\n@pytest.mark.skip\ndef test_two(): pass\n",
            "1 skipped",
            id="one skipped",
        ),
        pytest.param("import nosuchmodule\n", "nosuchmodule", id="a test file that cannot be read"),
        pytest.param("import os\nos._exit(0)\n", "", id="pytest ends early with status 0"),
    ],
)
def test_no_verdict(settings: Settings, image: Output, draft: Draft, content: str, cause: str) -> None:
    with pytest.raises(NetworkTestError, match="the network test on podman fails") as caught:
        network_test.make_network_test(with_tests(settings, content), on(FakeEngine(), image), draft)
    assert cause in caught.value.cause
    assert caught.value.log == draft.log
    assert "verdict" not in draft.facts


def test_time_limit(settings: Settings, image: Output, draft: Draft) -> None:
    slow = with_tests(settings, "import time\ndef test_one(): time.sleep(60)\n", timeout_s=1)
    with pytest.raises(NetworkTestError) as caught:
        network_test.make_network_test(slow, on(FakeEngine(), image), draft)
    assert "stopped after 1 s" in caught.value.cause


def test_engine_that_does_not_start(settings: Settings, image: Output, draft: Draft) -> None:
    with pytest.raises(EngineError, match="no"):
        network_test.make_network_test(with_tests(settings, PASSES), on(FakeEngine(EngineError("no")), image), draft)


APART = """
import pytest
def test_quick(): pass
@pytest.mark.slow
def test_long(): pass
@pytest.mark.slow
def test_longer(): pass
"""


def test_tests_that_run_apart(settings: Settings, image: Output, draft: Draft) -> None:
    """Each part runs its own; what a part leaves out is not taken for skipped."""
    made = with_tests(settings, APART)
    made = msgspec.structs.replace(made, network_test=NetworkTest(endurance="slow"))
    for part, count in ((network_test.verdict_part(made), 1), (network_test.endurance_part(made), 2)):
        trial = network_test.Trial(part=part, engine=FakeEngine(), images=[image])
        network_test.make_network_test(made, trial, draft)
        assert (draft.facts["tests"], draft.facts["skipped"]) == (count, 0)
    assert network_test.verdict_part(settings).choice == ""


TWO_AT_ONCE = """
import json, os, pathlib, time
import pytest
output = pathlib.Path(os.environ["XWHEP_TEST_OUTPUT"])
def meets(mine, other):
    (output / "timings.json").write_text(json.dumps({mine: 1.0}))
    deadline = time.monotonic() + 20
    while not other.is_file():
        assert time.monotonic() < deadline, "the other process does not run meanwhile"
        time.sleep(0.01)
def test_first():
    meets("first_s", output / "apart" / "timings.json")
@pytest.mark.apart
def test_other():
    meets("other_s", output.parent / "timings.json")
"""


def beside(settings: Settings, content: str) -> Settings:
    return msgspec.structs.replace(with_tests(settings, content), network_test=NetworkTest(beside="apart"))


def test_two_processes_at_once(settings: Settings, image: Output, draft: Draft) -> None:
    network_test.make_network_test(beside(settings, TWO_AT_ONCE), on(FakeEngine(), image), draft)
    assert draft.facts["tests"] == 2
    assert draft.facts["timings"] == {"first_s": 1.0, "other_s": 1.0}
    reports = sorted(str(path.relative_to(draft.folder)) for path in draft.folder.rglob("junit.xml"))
    assert reports == ["apart/junit.xml", "junit.xml"]


def test_nothing_to_run_beside(settings: Settings, image: Output, draft: Draft) -> None:
    network_test.make_network_test(beside(settings, "def test_one(): pass\n"), on(FakeEngine(), image), draft)
    assert draft.facts["tests"] == 1


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        pytest.param(
            "def test_one(): pass\n@pytest.mark.apart\ndef test_two(): assert 3 == 4\n", "3 == 4", id="beside"
        ),
        pytest.param("def test_one(): assert 1 == 2\n@pytest.mark.apart\ndef test_two(): pass\n", "1 == 2", id="first"),
        pytest.param("def test_one(): pass\n@pytest.mark.apart\ndef test_two(): os._exit(0)\n", "", id="ends early"),
        pytest.param("", "no tests ran", id="none at all"),
    ],
)
def test_no_verdict_when_one_of_two_fails(
    settings: Settings, image: Output, draft: Draft, content: str, cause: str
) -> None:
    made = beside(settings, f"import os, pytest\n{content}")
    with pytest.raises(NetworkTestError) as caught:
        network_test.make_network_test(made, on(FakeEngine(), image), draft)
    assert cause in caught.value.cause
    assert "verdict" not in draft.facts
    assert cause in caught.value.log.read_text()


def test_tests_import_what_lies_beside_them(settings: Settings, image: Output, draft: Draft) -> None:
    made = with_tests(settings, "from beside import ANSWER\ndef test_one(): assert ANSWER == 42\n")
    (settings.root_folder / "tests" / "network" / "beside.py").write_text("ANSWER = 42\n")
    network_test.make_network_test(made, on(FakeEngine(), image), draft)
    assert draft.facts["tests"] == 1


def with_folder_apart(settings: Settings, content: str) -> Settings:
    made = with_tests(settings, "def test_one(): pass\n")
    folder = settings.root_folder / "tests" / "network" / "others"
    folder.mkdir(exist_ok=True)
    (folder / "test_other.py").write_text(content)
    return msgspec.structs.replace(made, network_test=NetworkTest(apart=("others",)))


def test_a_folder_that_is_apart_is_not_run(settings: Settings, image: Output, draft: Draft) -> None:
    made = with_folder_apart(settings, "raise SystemExit('read')\n")
    network_test.make_network_test(made, on(FakeEngine(), image), draft)
    assert draft.facts["tests"] == 1
    with pytest.raises(NetworkTestError):  # where nothing says that it is apart
        network_test.make_network_test(with_tests(settings, "def test_one(): pass\n"), on(FakeEngine(), image), draft)


# Keys


ALL = Part(stage="network_test", choice="")


def test_key_follows_tests_engine_and_images(settings: Settings) -> None:
    made = with_tests(settings, PASSES)
    key = network_test.recipe(made, ALL, "podman", {"images:server": "1"}).key
    assert network_test.recipe(made, ALL, "podman", {"images:server": "1"}).key == key
    assert network_test.recipe(made, ALL, "docker", {"images:server": "1"}).key != key
    assert network_test.recipe(made, ALL, "podman", {"images:server": "2"}).key != key
    assert network_test.recipe(with_tests(settings, "#"), ALL, "podman", {"images:server": "1"}).key != key


def test_byte_code_changes_no_key(settings: Settings) -> None:
    made = with_tests(settings, PASSES)
    key = network_test.recipe(made, ALL, "podman", {}).key
    cache = made.root_folder / "tests" / "network" / "__pycache__"
    cache.mkdir()
    (cache / "test_small.pyc").write_bytes(b"x")
    assert network_test.recipe(made, ALL, "podman", {}).key == key


def test_a_folder_that_is_apart_changes_no_key(settings: Settings) -> None:
    key = network_test.recipe(with_folder_apart(settings, "# one\n"), ALL, "podman", {}).key
    changed = with_folder_apart(settings, "# other\n")
    assert network_test.recipe(changed, ALL, "podman", {}).key == key
    everything = msgspec.structs.replace(changed, network_test=NetworkTest())
    assert network_test.recipe(everything, ALL, "podman", {}).key != key


def test_missing_folder(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        network_test.recipe(settings, ALL, "podman", {})


def test_callers_plugins_are_not_loaded(settings: Settings, image: Output, draft: Draft) -> None:
    """A conftest.py or pytest.ini above the folder has no say."""
    made = with_tests(settings, "def test_one(): pass\n")
    (settings.root_folder / "conftest.py").write_text("raise SystemExit('loaded')\n")
    (settings.root_folder / "pytest.ini").write_text("[pytest]\naddopts = --nosuchoption\n")
    network_test.make_network_test(made, on(FakeEngine(), image), draft)
    assert json.dumps(draft.facts["verdict"]) == '"passed"'
