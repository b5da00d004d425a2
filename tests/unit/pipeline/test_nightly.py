"""A night is written down whatever it came to, and the page shows per artefact and variation since when it is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import bare
from xwhep_packaging.errors import PipelineError, VerifyError
from xwhep_packaging.nightly import history, night, page
from xwhep_packaging.nightly.history import Night, Seen
from xwhep_packaging.nightly.night import Run, Wanted
from xwhep_packaging.verify.variations import VARIATIONS

TOP = Path(__file__).parents[3]
BUILD = {
    "version": "11.0.0",
    "debs": [{"source": "grid", "package": "grid-server"}, {"source": "grid", "package": "grid-client"}],
    "images": [{"name": "client"}],
}


def rebuild(*variations: str, **causes: str) -> dict[str, Any]:
    """A rebuild in which these files differed."""
    labels = {"client": "debs:grid grid-client_11.0.0_all.deb", "image": "images:client layer 1"}
    found = [{"file": labels[name], "cause": cause} for name, cause in causes.items()]
    return {"name": "x", "variations": list(variations), "differences": found, "identical": not found}


def verified(*rebuilds: dict[str, Any]) -> dict[str, Any]:
    return {"rebuilds": list(rebuilds), "differences": [row for one in rebuilds for row in one["differences"]]}


def test_what_never_differed_is_identical_under_all() -> None:
    found = history.artefacts_of(BUILD, verified(rebuild("date", "umask"), rebuild("umask")))
    assert list(found) == ["source of grid", "grid-server", "grid-client", "image client", history.PAPERS]
    assert all(seen.variations == {"date": "identical", "umask": "identical"} for seen in found.values())
    assert all(seen.state == "identical" for seen in found.values())


def test_the_variation_whose_every_rebuild_differed_is_to_blame() -> None:
    rebuilds = (
        rebuild("date", "umask", client="timestamp", image="timestamp"),
        rebuild("umask"),
        rebuild("date", client="timestamp"),
    )
    found = history.artefacts_of(BUILD, verified(*rebuilds))
    assert found["grid-client"].variations == {"date": "different", "umask": "identical"}
    assert found["grid-client"].causes == ["timestamp"]
    assert found["grid-server"].state == "identical"
    # It differed where two were on, and not where one of them was: none is to blame alone, but it is not identical.
    assert found["image client"].variations == {"date": "identical", "umask": "identical"}
    assert found["image client"].state == "different"


@pytest.mark.parametrize(
    ("label", "artefact"),
    [
        ("debs:grid grid-client_1.0~git1+a_all.deb", "grid-client"),
        ("debs:grid grid_1.0.dsc", "source of grid"),
        ("debs:grid grid_1.0_amd64.buildinfo", "source of grid"),
        ("source:grid source.tar", "source of grid"),
        ("images:worker layer 1", "image worker"),
        ("images:worker manifest digest", "image worker"),
        ("papers:release sbom/grid-client.spdx.json", "a release's papers"),
        ("base:rootfs root.tar", "base:rootfs"),
        ("debs:grid manifest version", "debs:grid"),
    ],
)
def test_artefact_of_a_finding(label: str, artefact: str) -> None:
    assert history.artefact_of(label) == artefact


def of(number: int, state: str = "identical", failed: str = "") -> Night:
    seen = Seen(variations={"date": state}, causes=["timestamp"] if state == "different" else [])
    artefacts = {} if failed == "build" else {"grid-client": seen}
    return Night(at=1_800_000_000 + number * 86400, commit=f"{number:040x}", failed=failed, artefacts=artefacts)


def test_since_when_it_is_so() -> None:
    nights = [of(1), of(2), of(3, failed="build"), of(4, "different", "verify"), of(5, "different", "verify")]
    assert history.last_good(nights, "grid-client") == f"{2:040x}"
    assert history.strip(nights, "grid-client", "date") == [("identical", 2), ("", 1), ("different", 2)]
    assert history.last_good(nights[2:], "grid-client") == ""


def test_history_is_read_back_and_a_broken_line_is_left_out(tmp_path: Path) -> None:
    assert history.read(tmp_path) == []
    history.append(tmp_path, of(1))
    with (tmp_path / history.NAME).open("ab") as stream:
        stream.write(b'{"at": 1, "comm\n')
    history.append(tmp_path, of(2, "different", "verify"))
    assert history.read(tmp_path) == [of(1), of(2, "different", "verify")]


# The run


class FakeStore:
    def __init__(self, root: Path) -> None:
        self.root = root

    def scratch(self, name: str) -> Path:
        (self.root / name).mkdir(exist_ok=True)
        return self.root / name

    def read_latest(self) -> dict[str, Any]:
        return BUILD


class FakePipeline:
    def __init__(self, root: Path) -> None:
        self.store = FakeStore(root)
        self.settings = type("Settings", (), {"product": type("Product", (), {"name": "grid"})})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A night whose steps do what they are told; returns what was said."""

    def go(wanted: Wanted | None = None, **fails: PipelineError) -> list[str]:
        def step(name: str, answer: str = "") -> Callable[[Run], str]:
            def act(self: Run) -> str:
                if name == "verify":
                    rebuilds = verified(rebuild("date", **({"client": "timestamp"} if name in fails else {})))
                    night.verdict_file(self.pipeline).write_text(json.dumps(rebuilds))
                if name in fails:
                    raise fails[name]
                return answer

            return act

        monkeypatch.setattr(night, "head_of", lambda pipeline: "c" * 40)
        monkeypatch.setattr(Run, "_build", step("build"))
        monkeypatch.setattr(Run, "_verify", step("verify"))
        monkeypatch.setattr(Run, "_release", step("release", "11.0.0"))
        said: list[str] = []
        Run(pipeline=FakePipeline(tmp_path), wanted=wanted or Wanted(), say=said.append).night()  # type: ignore[arg-type]
        return said

    return go


def last(tmp_path: Path) -> Night:
    return history.read(tmp_path / "nightly")[-1]


def test_a_good_night(tmp_path: Path, run: Callable[..., list[str]]) -> None:
    said = "\n".join(run())
    assert "nightly  cccccccccccc 11.0.0: passed, 5 artefacts identical; released as 11.0.0" in said
    assert (tmp_path / "nightly" / page.NAME).is_file()
    assert last(tmp_path).released == "11.0.0"
    assert (tmp_path / "nightly" / night.SUMMARY).read_text().startswith("nightly  cccccccccccc 11.0.0: passed")


def test_without_a_channel_nothing_is_released(tmp_path: Path, run: Callable[..., list[str]]) -> None:
    assert "released" not in "\n".join(run(Wanted(channel="")))
    assert last(tmp_path).released == ""


@pytest.mark.parametrize("step", ["build", "verify", "release"])
def test_a_night_that_fails_is_written_down(tmp_path: Path, run: Callable[..., list[str]], step: str) -> None:
    run()
    with pytest.raises(PipelineError, match="went wrong"):
        run(**{step: VerifyError("went wrong", cause="because")})
    found = last(tmp_path)
    assert (found.failed, found.error, found.released) == (step, "went wrong", "")
    assert ("grid-client" in found.artefacts) is (step != "build")
    text = (tmp_path / "nightly" / night.SUMMARY).read_text()
    assert f"FAILED at {step}: went wrong" in text
    assert ("differs: grid-client" in text) is (step == "verify")
    assert f"failed at {step}" in (tmp_path / "nightly" / page.NAME).read_text()


def test_last_nights_verdict_does_not_stand_in_for_tonights(tmp_path: Path, run: Callable[..., list[str]]) -> None:
    run()
    with pytest.raises(PipelineError):
        run(build=VerifyError("went wrong"))
    assert last(tmp_path).artefacts == {}


# The page


def test_many_nights_stay_small() -> None:
    variations = dict.fromkeys(VARIATIONS, "identical")
    nights = []
    for number in range(400):
        state = {**variations, "date": "different"} if number % 2 else variations
        seen = Seen(variations=state, causes=["timestamp"] if number % 2 else [])
        nights.append(
            Night(at=number * 86400, commit=f"{number:040x}", artefacts={f"package-{n}": seen for n in range(20)})
        )
    text = page.render(nights, "grid")
    assert len(text) < 1_000_000
    assert text.count('class="card artefact"') == 20


def test_what_others_wrote_is_escaped() -> None:
    evil = "</style><script>alert(1)</script>"
    text = page.render([Night(at=1, commit="c", failed=evil, error=evil, version=evil)], evil)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_no_night_yet() -> None:
    assert "no night yet" in page.render([], "grid")


# Ready-made files


WORKFLOWS = [*sorted((TOP / ".github" / "workflows").glob("*.yml")), TOP / ".gitlab-ci.yml"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_their_variations_are_those_that_exist(file: Path) -> None:
    text = file.read_text()
    found = [str(word) for row in re.findall(r"variation: \[(.+)\]", text) for word in row.split(", ")]
    found += yaml.safe_load(text)["verify"]["parallel"]["matrix"][0]["VARIATION"] if "parallel" in text else []
    if "verify" in text.replace("Build HEAD, verify", ""):
        assert set(found) == set(VARIATIONS) - {"python"}, "python wants another Python on the machine"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_they_have_the_form_that_their_services_take(file: Path) -> None:
    github = ".github" in file.parts
    schema = ["vendor.github-workflows"] if github else ["vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    argv = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", *schema, file]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_they_call_what_a_person_calls(file: Path) -> None:
    calls = re.findall(r"scripts/doit \"?([a-z_]+)", file.read_text())
    assert calls
    assert set(calls) <= {"test", "nightly", "verify"}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_they_install_git_and_leave_the_rest_to_scripts_doit(file: Path) -> None:
    """What a bare machine needs first; test_bare_machine.py builds on one that has just this."""
    lines = re.findall(r"apt-get install (.+)", file.read_text())
    assert lines
    assert {tuple(word for word in line.split() if not word.startswith("--")) for line in lines} == {bare.INSTALLED}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_fetched_packages_are_kept_where_the_pipeline_puts_them(file: Path) -> None:
    """Not below the home folder: GitHub's jobs have another one than root's."""
    text = file.read_text()
    (folder,) = re.findall(r"XWHEP_CACHE: (?:\$CI_PROJECT_DIR/)?(\S+)", text)
    assert f"{folder}]" in text or f"path: {folder}\n" in text
    assert "/root/" not in text
