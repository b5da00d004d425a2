"""What a build says it made: latest.json for machines, one table for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from deployments import put
from repositories import Repository
from xwhep_packaging import report
from xwhep_packaging.artefacts import Output, digest_over, digests_below
from xwhep_packaging.errors import PipelineError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.settings import Settings
from xwhep_packaging.store import Draft, Recipe, Store

DIGEST = "sha256:" + "ab" * 32
PRIVATE_DIGEST = "sha256:" + "cd" * 32
VERSION = "11.0.0~git20231114.2213+abcdef0"


class Published(Pipeline):
    """A pipeline whose steps are published with made-up contents, so that no tool runs."""

    def recipe(self, name: str) -> Recipe:
        stage, _, part = name.partition(":")
        return Recipe(stage=stage, name=part or "grid", inputs={"made": "up"})


def facts_of(name: str) -> dict[str, Any]:
    image = {"digest": DIGEST, "tags": ["grid-server:1", "gridserverimg_2023-11-14-22-13-20:latest"], "size": 9_700_000}
    layers = {"layers": ["sha256:1", "sha256:2"], "layer_sizes": [9_600_000, 100_000], "version": VERSION, "epoch": 5}
    verdict = {"verdict": "passed", "engine": "podman", "tests": 7, "timings": {"ready_s": 0.5}}
    tested = {"network_test": verdict, "endurance": verdict}
    stages = {"packages": {"drifted": ""}, "debs": {"version": VERSION}, "bound": {**image, **layers}, **tested}
    return {**stages, "images": {**image, **layers}}.get(name, {})


PACKAGES = {"debs": f"grid-server_{VERSION}_all.deb", "conf": "xwhep-server-conf_20261128.002900.1_all.deb"}


def publish(pipeline: Pipeline, more: dict[str, dict[str, Any]] | None = None) -> Pipeline:
    """Every step as if it had been made; `more` are facts of some stages."""
    for name in pipeline.steps:
        stage = name.partition(":")[0]

        def make(draft: Draft, stage: str = stage) -> None:
            draft.facts.update({**facts_of(stage), **(more or {}).get(stage, {})})
            if stage in PACKAGES:
                (draft.folder / PACKAGES[stage]).write_bytes(b"x" * 12_345)

        pipeline.store.make(pipeline.recipe(name), make)
    return pipeline


@pytest.fixture
def published(settings: Settings, store: Store) -> Pipeline:
    return publish(Published(settings, store))


def test_report(published: Pipeline, repository: Repository) -> None:
    made = report.build_report(published)
    assert made["commit"] == made["shipped_commit"] == repository.git("rev-parse", "HEAD")
    assert (made["epoch"], made["date"]) == (1_700_000_000, "2023-11-14T22:13:20Z")
    assert (made["verdict"], made["engine"], made["version"]) == ("passed", "podman", VERSION)
    deb = made["debs"][0]
    assert (deb["package"], deb["version"], deb["architecture"]) == ("grid-server", VERSION, "all")
    assert Path(deb["path"]).stat().st_size == deb["size"] == 12_345
    assert made["images"][0]["digest"] == DIGEST
    assert made["network_test"]["tests"] == 7
    assert set(made["keys"]) == set(published.steps)
    assert json.loads(json.dumps(made)) == made


def test_endurance_joins_the_report_when_it_ran_on_these_images(load: Callable[..., Settings], store: Store) -> None:
    settings = load(more='\n[network_test]\nendurance = "slow"\n')
    pipeline = Published(settings, store)
    steps = dict(pipeline.steps)
    del pipeline.steps["endurance"]
    publish(pipeline)
    pipeline.steps.update(steps)
    made = report.build_report(pipeline)
    assert made["endurance"] == {"verdict": "not run"}
    assert "endurance" not in report.table(made, {})
    made = report.build_report(publish(pipeline))
    assert (made["endurance"]["verdict"], made["endurance"]["tests"]) == ("passed", 7)
    assert Path(made["endurance"]["folder"]).is_dir()
    assert report.table(made, {}).splitlines()[-1].endswith("7 network tests on podman; endurance passed: 7")


def test_private_images_stand_apart(load: Callable[..., Settings], store: Store) -> None:
    """They are named under "bound" and in a part of the table of their own, never among the images that are public."""
    loaded = load(('["grid-server"]', '["xwhep-server"]'))
    put(loaded.deployments_folder)
    private = {"digest": PRIVATE_DIGEST, "tags": ["gridserverimg_2026-11-28-00-29-00:latest"], "private": True}
    pipeline = publish(Published(loaded, store), {"bound": {**private, "deployment": "lab"}})
    made = report.build_report(pipeline)
    (row,) = made["bound"]
    assert (row["digest"], row["private"], row["deployment"]) == (PRIVATE_DIGEST, True, "lab")
    assert row["conf"]["package"] == "xwhep-server-conf"
    assert PRIVATE_DIGEST not in json.dumps([made["images"], made["debs"]])
    assert "conf" not in json.dumps(made["debs"])
    table = report.table(made, {})
    assert "private images of the deployment lab" in table
    assert "gridserverimg_2026-11-28-00-29-00 " in table.partition("private images")[2]


def test_deployment_that_came_too_late_for_this_run_is_said(load: Callable[..., Settings], store: Store) -> None:
    loaded = load(('["grid-server"]', '["xwhep-server"]'))
    pipeline = Published(loaded, store)
    assert report.not_bound(pipeline) == ""
    put(loaded.deployments_folder)
    assert "NOT BOUND to lab" in report.not_bound(pipeline)
    assert report.not_bound(Published(loaded, store)) == ""


def test_drift_is_said_loudly_and_on_every_artefact(settings: Settings, store: Store) -> None:
    reason = "the archive no longer has tini 1"
    made = report.build_report(publish(Published(settings, store), {"packages": {"drifted": reason}}))
    assert made["drifted"] == [reason]
    assert all(row["drifted"] for row in [*made["debs"], *made["images"]])
    lines = report.table(made, {}).splitlines()
    assert lines[-3].startswith("DRIFTED")
    assert lines[-2:] == [f"  {reason}", "  next:  scripts/doit lock, review and commit it"]


def test_report_of_a_dirty_tree(published: Pipeline, repository: Repository) -> None:
    repository.write("src/main.py", "print('loose')\n")
    made = report.build_report(published)
    assert made["dirty"]
    assert "not in this commit" in report.table(made, {})


def test_report_without_a_verdict_is_none(settings: Settings, store: Store) -> None:
    """What is not made is never reported."""
    with pytest.raises(PipelineError, match="is not made"):
        report.build_report(Published(settings, store))


def test_table(published: Pipeline) -> None:
    published.store.remember_seconds("debs:grid", published.recipe("debs:grid").key, 5.678)
    made = report.build_report(published)
    table = report.table(made, {"debs:grid": 5.678})
    rows = [line.split() for line in table.splitlines()]
    assert [f"grid-server_{VERSION}_all.deb", "12.3", "kB", made["debs"][0]["sha256"][:12]] in rows
    assert ["grid-server:1", "9.7", "MB", "abababababab"] in rows
    assert ["gridserverimg_2023-11-14-22-13-20", "abababababab"] in rows
    assert ["debs:grid", "5.7", "s", "made", "now"] in rows
    assert table.splitlines()[-1] == "verdict  passed: 7 network tests on podman"
    assert max(len(line) for line in table.splitlines()) <= 120
    assert ["debs:grid", "5.7", "s", "up", "to", "date"] in [
        line.split() for line in report.table(made, {}).splitlines()
    ]


def test_the_table_says_what_was_made_and_what_took_longest(published: Pipeline) -> None:
    keys = {name: published.recipe(name).key for name in published.steps}
    for number, (name, key) in enumerate(keys.items()):
        published.store.remember_seconds(name, key, number)
    made = report.build_report(published)
    seconds = {"source:grid": 1.0, "debs:grid": 30.04, "base:chroot": 40, "network_test": 2}
    longest = "longest: base:chroot 40.0 s, debs:grid 30.0 s, network_test 2.0 s"
    said = f"made     4 steps in 52 s, {len(keys) - 4} were up to date; {longest}"
    assert said in report.table(made, seconds, 52.4).splitlines()
    lines = report.table(made, {}, 0.26).splitlines()
    assert f"made     nothing in 0.3 s: all {len(keys)} steps were up to date" in lines
    assert "report   scripts/doit report makes a page of it" in lines


def test_saved_only_when_something_changed(published: Pipeline) -> None:
    made = report.build_report(published)
    report.save(published, made)
    path = published.store.root / "latest.json"
    first = path.read_bytes()
    assert json.loads(first)["finished_at"] > 0
    report.save(published, made)
    assert path.read_bytes() == first
    report.save(published, {**made, "verdict": "other"})
    assert json.loads(path.read_bytes())["verdict"] == "other"


# Steps


def test_steps_name_what_they_need(settings: Settings, store: Store) -> None:
    steps = Pipeline(settings, store).steps
    assert steps["debs:grid"].needs == ("source:grid", "base:chroot-grid")
    assert steps["base:chroot-grid"].needs == ("base:chroot", "packages:chroot-grid")
    assert steps["packages:chroot-grid"].needs == ("packages:chroot",)
    assert steps["images:server"].needs == ("base:image", "debs:grid")
    assert steps["network_test"].needs == ("images:server",)
    assert "endurance" not in steps
    assert all(need in steps for step in steps.values() for need in step.needs)


def test_nothing_is_asked_before_a_step_is(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the list of tasks starts no process: `doit list` works where nothing is installed."""
    monkeypatch.setattr("subprocess.Popen", lambda *words, **more: pytest.fail("a process was started"))
    assert Pipeline(settings, store).steps


def test_commit_is_resolved_once_a_run(settings: Settings, store: Store, repository: Repository) -> None:
    """A commit made meanwhile changes nothing half-way."""
    pipeline = Pipeline(settings, store)
    before = pipeline.commit("grid")
    repository.write("src/main.py", "print('two')\n")
    repository.commit("two")
    assert pipeline.commit("grid") == before
    assert Pipeline(settings, store).commit("grid") != before


def test_needs_are_made_first(settings: Settings, store: Store) -> None:
    """A step asked for alone makes what it needs, each once; what is found is not made again."""
    pipeline, made = Published(settings, store), []

    def making(name: str) -> Any:
        return lambda draft: made.append(name)

    for name, step in list(pipeline.steps.items()):
        pipeline.steps[name] = replace(step, maker=making(name), present=lambda output: True)
    pipeline.make("debs:grid")
    chroots = ["packages:chroot", "base:chroot", "packages:chroot-grid", "base:chroot-grid"]
    assert made == ["source:grid", *chroots, "debs:grid"]
    pipeline.make("lint:grid")
    assert made[6:] == ["lint:grid"]
    assert set(pipeline.seconds) == set(made)


def test_image_is_as_old_as_its_newest_input(settings: Settings, store: Store, repository: Repository) -> None:
    repository.write("images/server/Containerfile", "FROM scratch\nLABEL a=b\n")
    repository.commit("image")
    assert Pipeline(settings, store)._image_epoch("server") == 1_700_000_060


# Digests of folders


def test_digest_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_over(digests_below(tmp_path))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("1")
    assert digest_over(digests_below(tmp_path)) == first
    (tmp_path / "a").chmod(0o755)
    second = digest_over(digests_below(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, digest_over(digests_below(tmp_path))}) == 3


def test_output_names_its_files(published: Pipeline) -> None:
    output = published.output("debs:grid")
    assert isinstance(output, Output)
    assert [path.suffix for path in output.matching(".deb")] == [".deb"]
    assert output.matching(".changes") == []
