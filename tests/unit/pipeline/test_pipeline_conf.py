"""Stages conf and bound: private packages, reproducible, each with its role's own; keys that tell nothing."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments import MADE_AT, PASSWORD, deployment, put
from repositories import Repository
from xwhep_packaging import containerfile, engines
from xwhep_packaging.deployment import making, payload
from xwhep_packaging.deployment.records import ROLES, Deployment
from xwhep_packaging.errors import DeploymentError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.secret_scan import Scan, secrets_of
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import bound, conf
from xwhep_packaging.store import Draft, Store

Load = Callable[..., Settings]
each_role = pytest.mark.parametrize("role", ROLES)
PRIVATE = {
    "server": {"server.pem", "admin.json", "join.json", "worker.join"},
    "worker": {"worker.join"},
    "client": set(),
}


@pytest.fixture(scope="module")
def made() -> Deployment:
    return deployment()


def package(settings: Settings, made: Deployment, role: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    draft = Draft(folder=folder, log=folder.parent / "log")
    conf.make_conf(settings, made, role, draft)
    (deb,) = folder.iterdir()
    return deb


def members(deb: Path, part: str = "--fsys-tarfile") -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    data = subprocess.run(["dpkg-deb", part, str(deb)], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            found[member.name.removeprefix(".")] = (member, stream.read() if stream else b"")
    return found


def field(deb: Path, name: str) -> str:
    return subprocess.run(
        ["dpkg-deb", "--field", str(deb), name], check=True, capture_output=True, text=True
    ).stdout.strip()


# The packages


@each_role
def test_package_is_a_small_private_addition_to_its_role(
    settings: Settings, made: Deployment, role: str, tmp_path: Path
) -> None:
    deb = package(settings, made, role, tmp_path / "out")
    assert deb.name == f"xwhep-{role}-conf_20261128.002900.1_all.deb"
    assert field(deb, "Depends") == f"xwhep-{role}"
    assert field(deb, "Version") == "20261128.002900.1"
    assert "grid.example.org" in field(deb, "Description")
    assert stat.S_IMODE(deb.stat().st_mode) == 0o600
    assert stat.S_IMODE(deb.parent.stat().st_mode) == 0o700


@each_role
def test_files_modes_owners_and_times(settings: Settings, made: Deployment, role: str, tmp_path: Path) -> None:
    found = members(package(settings, made, role, tmp_path / "out"))
    place = f"/etc/xwhep/{role}-deployment"
    assert {name.removeprefix(f"{place}/") for name, (info, _) in found.items() if info.isreg()} == set(
        payload.payload(made, role)
    )
    assert {info.mtime for info, _ in found.values()} == {MADE_AT}
    assert {(info.uid, info.gid, info.uname) for info, _ in found.values()} == {(0, 0, "root")}
    open_to_all = role == "client"
    assert stat.S_IMODE(found[place][0].mode) == (0o755 if open_to_all else 0o750)
    modes = {stat.S_IMODE(info.mode) for info, _ in found.values() if info.isreg()}
    assert modes == {0o644 if open_to_all else 0o640}
    assert {stat.S_IMODE(found[name][0].mode) for name in ("/etc", "/etc/xwhep")} == {0o755}


@each_role
def test_each_package_holds_only_its_roles_secrets(
    settings: Settings, made: Deployment, role: str, tmp_path: Path
) -> None:
    deb = package(settings, made, role, tmp_path / "out")
    found = {finding.secret for finding in Scan(secrets_of(made)).file(deb)}
    token = f"join token {made.joins[0].id}"
    assert (
        found
        == {
            "server": {"the server's key", "the password's hash", token},
            "worker": {token},
            "client": set(),
        }[role]
    )


@each_role
def test_same_folder_same_bytes(settings: Settings, made: Deployment, role: str, tmp_path: Path) -> None:
    """At another time, under another umask, in another place."""
    started, results = int(time.time()), []
    for umask in (0o077, 0o022):
        before = os.umask(umask)
        try:
            results.append(package(settings, made, role, tmp_path / f"{umask}" / "out").read_bytes())
        finally:
            os.umask(before)
        while int(time.time()) == started:
            time.sleep(0.02)
    assert results[0] == results[1]


@each_role
def test_renewal_leaves_other_packages_as_they_were(
    settings: Settings, made: Deployment, role: str, tmp_path: Path
) -> None:
    after = making.rotated(made, "join-token", MADE_AT + 60)
    one, two = package(settings, made, role, tmp_path / "1" / "o"), package(settings, after, role, tmp_path / "2" / "o")
    if role == "client":
        assert (one.name, one.read_bytes()) == (two.name, two.read_bytes())
    else:
        assert two.name == f"xwhep-{role}-conf_20261128.002900.2_all.deb"
        newer = ["dpkg", "--compare-versions", field(two, "Version"), "gt", field(one, "Version")]
        assert subprocess.run(newer, check=False).returncode == 0


@pytest.mark.parametrize("role", ["server", "worker"])
def test_scripts_are_sound(settings: Settings, made: Deployment, role: str, tmp_path: Path) -> None:
    control = members(package(settings, made, role, tmp_path / "out"), "--ctrl-tarfile")
    for name in ("postinst", "postrm"):
        info, text = control[f"/{name}"]
        assert stat.S_IMODE(info.mode) == 0o755
        assert b"@" not in text
        subprocess.run(["sh", "-n"], input=text, check=True)
    assert f"chown --recursive --no-dereference xwhep-{role}:xwhep-{role}".encode() in control["/postinst"][1]


def test_client_has_no_script(settings: Settings, made: Deployment, tmp_path: Path) -> None:
    control = members(package(settings, made, "client", tmp_path / "out"), "--ctrl-tarfile")
    assert {name.strip("/") for name, (info, _) in control.items() if info.isreg()} <= {"control", "md5sums"}


def test_log_and_call_hold_no_secret(settings: Settings, made: Deployment, tmp_path: Path) -> None:
    for role in ROLES:
        package(settings, made, role, tmp_path / role / "out")
        assert list(Scan(secrets_of(made)).file(tmp_path / role / "log")) == []
        assert "dpkg-deb" in (tmp_path / role / "log").read_text()


# Keys


def test_key_follows_contents_and_tells_nothing(settings: Settings, load: Load, made: Deployment) -> None:
    recipe = conf.recipe(settings, made, "server")
    assert conf.recipe(settings, made, "server").key == recipe.key
    changes = [
        conf.recipe(settings, making.rotated(made, "admin", MADE_AT), "server"),
        conf.recipe(settings, made, "worker"),
        conf.recipe(settings, deployment(), "server"),
        conf.recipe(load(('name = "grid"\n', 'name = "grid"\nmaintainer = "A <a@b.invalid>"\n')), made, "server"),
    ]
    assert len({recipe.key, *(other.key for other in changes)}) == 5
    text = json.dumps(dict(recipe.inputs))
    assert list(Scan(secrets_of(made)).content("the inputs", text.encode())) == []
    assert PASSWORD not in text


def test_key_follows_templates(
    settings: Settings, made: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = conf.recipe(settings, made, "server").key
    (tmp_path / "control").write_text("Package: other\n")
    monkeypatch.setattr(conf, "TEMPLATES", tmp_path)
    assert conf.recipe(settings, made, "server").key != before


# Steps


PLATFORM = [('["grid-server"]', '["xwhep-server"]')]


def steps(loaded: Settings, store: Store) -> set[str]:
    return {name for name in Pipeline(loaded, store).steps if name.startswith(("conf:", "bound:"))}


def test_no_deployment_no_private_step(load: Load, store: Store) -> None:
    assert steps(load(*PLATFORM), store) == set()


def test_private_steps_of_the_only_deployment(load: Load, store: Store) -> None:
    loaded = load(*PLATFORM)
    put(loaded.deployments_folder)
    pipeline = Pipeline(loaded, store)
    assert steps(loaded, store) == {"conf:server", "bound:server"}
    assert pipeline.steps["bound:server"].needs == ("images:server", "conf:server")
    assert pipeline.steps["network_test"].needs == ("images:server",), "the verdict is on the role images"
    assert pipeline.binding.deployment.about.name == "lab"


def test_product_without_the_platform_is_bound_to_nothing(load: Load, store: Store) -> None:
    put(load().deployments_folder)
    assert steps(load(), store) == set()


def test_several_deployments_are_told_apart(load: Load, store: Store) -> None:
    loaded = load(*PLATFORM)
    put(loaded.deployments_folder)
    put(loaded.deployments_folder, "second")
    pipeline = Pipeline(loaded, store)
    with pytest.raises(DeploymentError, match="several") as caught:
        pipeline.recipe("conf:server")
    assert caught.value.cause == "lab, second"
    named = load(*PLATFORM, environ={"XWHEP_DEPLOYMENT": "second"})
    assert Pipeline(named, store).binding.deployment.about.name == "second"


def test_deployment_that_is_named_and_missing(load: Load, store: Store) -> None:
    loaded = load(*PLATFORM, more='[deployment]\nname = "none"\n')
    with pytest.raises(DeploymentError, match="no deployment 'none'"):
        Pipeline(loaded, store).recipe("conf:server")


def test_conf_package_by_the_pipeline_is_its_owners_alone(load: Load, store: Store) -> None:
    loaded = load(*PLATFORM)
    put(loaded.deployments_folder)
    pipeline = Pipeline(loaded, store)
    made = pipeline.make("conf:server")
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in made.matching(".deb")} == {0}
    assert Pipeline(loaded, store).find("conf:server") == made
    manifest = (made.folder / "manifest.json").read_bytes()
    assert list(Scan(secrets_of(pipeline.binding.deployment)).content("manifest", manifest)) == []


def test_dated_name_belongs_to_the_bound_image(load: Load, store: Store, repository: Repository) -> None:
    loaded = load(*PLATFORM)
    before = Pipeline(loaded, store).recipe("images:server").inputs
    put(loaded.deployments_folder)
    after = Pipeline(loaded, store).recipe("images:server").inputs
    assert {name for name in after if after.get(name) != before.get(name)} == {"dated name"}


# The bound image's Containerfile


def test_containerfile_of_a_bound_image() -> None:
    text = containerfile.render_bound("xwhep-server", "lab", "990:990")
    lines = text.splitlines()
    assert lines[:2] == ["ARG ROLE_IMAGE", "FROM ${ROLE_IMAGE}"]
    assert lines.index("USER 0:0") < lines.index(next(line for line in lines if line.startswith("RUN")))
    assert [line for line in lines if line.startswith("USER")][-1] == "USER 990:990"
    assert 'org.xwhep.private="true"' in text
    assert not [line for line in lines if line.startswith(("ENTRYPOINT", "CMD", "COPY", "ENV"))]


def test_key_of_a_bound_image(load: Load) -> None:
    loaded, upstream = load(), {"images:server": "1", "conf:server": "2"}
    key = bound.recipe(loaded, "server", upstream).key
    assert bound.recipe(loaded, "server", {**upstream, "conf:server": "3"}).key != key
    assert bound.recipe(loaded, "server", {**upstream, "images:server": "3"}).key != key
    assert bound.recipe(load(("gridserverimg", "otherimg")), "server", upstream).key != key


# Names of images


def test_image_whose_name_was_taken_away_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = tmp_path / "overlay-images" / "images.json"
    listing.parent.mkdir()
    listing.write_text(json.dumps([{"id": "a" * 64, "names": ["localhost/x:1"]}, {"id": "b" * 64}]))
    monkeypatch.setattr(engines, "storage_root", lambda: tmp_path)
    engine = engines.PodmanEngine(memory=tmp_path)
    assert engine.has_image("sha256:" + "a" * 64, ("x:1",))
    assert not engine.has_image("sha256:" + "a" * 64, ("x:1", "y:1"))
    assert not engine.has_image("sha256:" + "b" * 64, ("x:1",))
    assert engine.has_image("sha256:" + "b" * 64)
    assert not engine.has_image("sha256:" + "c" * 64)
