"""What `doit deploy` writes: every word replaced, the same each time, no secret, fit for the tools that read it."""

from __future__ import annotations

import json
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from xwhep_packaging import deployer, settings
from xwhep_packaging.artefacts import Image
from xwhep_packaging.deploy import compose, files
from xwhep_packaging.errors import MissingTool
from xwhep_packaging.settings import Deploy

REPOSITORY = Path(__file__).resolve().parents[3]
VERSION = "11.0.0-git20261124.0234-00b8724"
KUBERNETES = "1.34.0"
USERS = {"xwhep-server": 990, "xwhep-worker": 991}
WAYS = ("compose", "swarm", "kubernetes")
OVERLAYS = ("fixed", "autoscaled")
CHOSEN = Deploy(name="lab", address="grid.example.org", registry="registry.example.org/lab/", workers=3, workers_max=9)


def images() -> dict[str, Image]:
    return {
        role: Image(name=role, tags=(f"xwhep-{role}:{VERSION}",), digest="sha256:0", size=1, layers=())
        for role in files.ROLES
    }


def written(folder: Path, way: str, deploy: Deploy = CHOSEN, engine: str = "docker") -> Path:
    return files.write(way, files.values(deploy, images(), engine), folder / way)


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def document(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


# Files


@pytest.mark.parametrize("way", WAYS)
def test_writing_again_gives_the_same_and_removes_what_is_no_more(tmp_path: Path, way: str) -> None:
    folder = written(tmp_path, way)
    first = texts(folder)
    (folder / "old.yaml").write_text("old")
    (folder / "stale").mkdir()
    (folder / files.SECRETS).mkdir()
    (folder / files.SECRETS / "worker.join").write_text("kept")
    assert texts(written(tmp_path, way)) == {**first, "secrets/worker.join": "kept"}
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("way", WAYS)
def test_every_word_is_replaced_and_every_yaml_file_can_be_read(tmp_path: Path, way: str) -> None:
    for name, text in texts(written(tmp_path, way)).items():
        assert "$" not in text, name
        if name.endswith(".yaml"):
            assert list(yaml.safe_load_all(text))


def test_a_word_that_stands_for_nothing_is_an_error(tmp_path: Path) -> None:
    template = tmp_path / "a.yaml"
    template.write_text("image: $unknown\n")
    with pytest.raises(KeyError, match="unknown"):
        files.rendered(template, files.values(CHOSEN, images(), "docker"))


def test_every_setting_is_used() -> None:
    templates = list(files.TEMPLATES.rglob("*.yaml"))
    used = {word for path in templates for word in string.Template(path.read_text()).get_identifiers()}
    fields = set(Deploy.__struct_fields__)
    assert fields - used == {"address", "registry"}, "address and registry go into other words"
    assert used <= set(files.values(CHOSEN, images(), "docker"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("name", "Lab", id="capital"),
        pytest.param("name", "a: b", id="yaml in a name"),
        pytest.param("address", "x, y: z", id="yaml in an address"),
        pytest.param("registry", "host", id="registry without a slash"),
        pytest.param("workers", 0, id="no worker"),
        pytest.param("worker_cpus", -1.0, id="negative"),
        pytest.param("replicas", 3, id="unknown"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(tmp_path: Path, name: str, value: object) -> None:
    original = (REPOSITORY / "packaging" / "pipeline.toml").read_text()
    table = original.partition("[deploy]")[0] + f"[deploy]\n{name} = {json.dumps(value)}\n"
    for image in files.ROLES:
        (tmp_path / "images" / image).mkdir(parents=True)
        (tmp_path / "images" / image / "Containerfile").touch()
    (tmp_path / "pipeline.toml").write_text(table)
    with pytest.raises(settings.SettingsError, match=name):
        settings.load(tmp_path / "pipeline.toml", {})


# Compose and Swarm


def test_compose_file_has_what_makes_it_hold(tmp_path: Path) -> None:
    services = document(written(tmp_path, "compose") / "compose.yaml")["services"]
    assert services["worker"]["depends_on"] == {"server": {"condition": "service_healthy"}}
    assert services["worker"]["secrets"] == ["worker_join"]
    assert services["worker"]["scale"] == 3
    assert services["server"]["ports"] == ["4321:4321"]
    assert services["server"]["environment"]["XWHEP_SERVER_NAME"] == "server,grid.example.org"
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["image"] == f"xwhep-{name}:{VERSION}"
        assert (service["restart"], "healthcheck" in service) in {("unless-stopped", True), ("no", False)}


def test_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "compose") / "compose.yaml"
    argv = [*compose.find_compose(), "--file", str(file), "--profile", "client", "config", "--format", "json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(files.ROLES)
    file.write_text(file.read_text().replace("read_only: true", "read_ony: true"))
    assert subprocess.run(argv, capture_output=True, check=False).returncode != 0, "it would accept anything"


def test_podman_is_asked_to_give_volumes_to_their_user(tmp_path: Path) -> None:
    services = document(written(tmp_path, "compose", engine="podman") / "compose.yaml")["services"]
    assert services["server"]["volumes"] == ["server:/var/lib/xwhep-server:U"]
    services = document(written(tmp_path, "compose", engine="docker") / "compose.yaml")["services"]
    assert services["server"]["volumes"] == ["server:/var/lib/xwhep-server"]


def test_an_old_compose_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-compose"
    program.write_text("#!/bin/sh\necho 1.29.2\n")
    program.chmod(0o755)
    monkeypatch.setattr(compose, "TOOLS", tmp_path)
    monkeypatch.setattr(compose.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(compose.command, "SYSTEM_PATH", str(tmp_path))
    with pytest.raises(MissingTool):
        compose.find_compose()
    program.write_text("#!/bin/sh\necho v5.6.1\n")
    assert compose.find_compose() == [str(program)]


def test_the_join_line_is_for_the_worker_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "worker.join"
    compose.keep_secret(path, "first")
    compose.keep_secret(path, "second")
    assert path.read_text() == "second"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_uid == compose.WORKER_USER


def test_stack_files_fit_what_stacks_can_do(tmp_path: Path) -> None:
    folder = written(tmp_path, "swarm")
    server = document(folder / "server.yaml")["services"]["server"]
    workers = document(folder / "workers.yaml")
    worker = workers["services"]["worker"]
    assert server["image"] == f"registry.example.org/lab/xwhep-server:{VERSION}"
    assert server["ports"] == [{"target": 4321, "published": 4321, "protocol": "tcp", "mode": "host"}]
    assert server["deploy"]["update_config"] == {"order": "stop-first"}
    assert server["deploy"]["replicas"] == 1
    assert worker["deploy"]["placement"] == {"max_replicas_per_node": 2}
    assert worker["deploy"]["endpoint_mode"] == server["deploy"]["endpoint_mode"] == "dnsrr"
    assert workers["secrets"] == {"worker_join": {"name": "lab_worker_join", "external": True}}


# Kubernetes


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Overlay -> what `kubectl kustomize` makes of it."""
    folder = written(tmp_path_factory.mktemp("kubernetes"), "kubernetes")
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    made = {}
    for overlay in OVERLAYS:
        argv = [kubectl, "kustomize", str(folder / "overlays" / overlay)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        made[overlay] = list(yaml.safe_load_all(done.stdout))
    return made


def one(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in documents:
        if each["kind"] in {"StatefulSet", "Deployment"}:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_fit_the_schemas_of_kubernetes(manifests: dict[str, list[dict[str, Any]]], overlay: str) -> None:
    for each in manifests[overlay]:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


@pytest.mark.parametrize("change", [{"replicas": "two"}, {"replcas": 2}], ids=["wrong type", "misspelt"])
def test_the_schemas_see_what_they_should(manifests: dict[str, list[dict[str, Any]]], change: dict[str, Any]) -> None:
    worker = one(manifests["fixed"], "Deployment", "xwhep-worker")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**worker, "spec": {**worker["spec"], **change}}, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_fits_the_restricted_pod_security(manifests: dict[str, list[dict[str, Any]]], overlay: str) -> None:
    namespace = one(manifests[overlay], "Namespace", "lab")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    found = dict(pods(manifests[overlay]))
    assert set(found) == set(USERS)
    for name, pod in found.items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == USERS[name]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "configMap", "secret"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_users_of_pods_are_those_of_the_images() -> None:
    for name, number in USERS.items():
        role = name.removeprefix("xwhep-")
        text = (REPOSITORY / "images" / role / "Containerfile").read_text()
        assert re.findall(r"^USER (\d+):", text, re.M) == [str(number)]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_come_from_the_registry_at_their_version(
    manifests: dict[str, list[dict[str, Any]]], overlay: str
) -> None:
    for name, pod in pods(manifests[overlay]):
        wanted = f"registry.example.org/lab/{name}:{VERSION}"
        assert {container["image"] for container in pod["containers"]} == {wanted}


def test_the_queue_decides_how_many_workers_there_are(manifests: dict[str, list[dict[str, Any]]]) -> None:
    autoscaled, fixed = manifests["autoscaled"], manifests["fixed"]
    scaler = one(autoscaled, "HorizontalPodAutoscaler", "xwhep-worker")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 9)
    assert scaler["metrics"][0]["external"]["target"] == {"type": "AverageValue", "averageValue": "4"}
    assert "replicas" not in one(autoscaled, "Deployment", "xwhep-worker")["spec"], "it would undo the autoscaler"
    assert one(fixed, "Deployment", "xwhep-worker")["spec"]["replicas"] == 3


def test_workers_reach_the_server_and_names_and_nothing_else(manifests: dict[str, list[dict[str, Any]]]) -> None:
    policies = [each for each in manifests["fixed"] if each["kind"] == "NetworkPolicy"]
    assert one(policies, "NetworkPolicy", "default-deny")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    worker = one(policies, "NetworkPolicy", "worker")["spec"]
    ports = [port["port"] for rule in worker["egress"] for port in rule["ports"]]
    assert sorted(ports) == [53, 53, 4321]
    assert "ingress" not in worker


def test_the_server_has_one_volume_and_probes(manifests: dict[str, list[dict[str, Any]]]) -> None:
    server = one(manifests["fixed"], "StatefulSet", "xwhep-server")["spec"]
    assert server["replicas"] == 1
    (claim,) = server["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    program = server["template"]["spec"]["containers"][0]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(program)


def test_the_line_to_connect_by_names_a_place_that_is_found_from_outside() -> None:
    """Inside of the grid's network alone the server is called `server`."""
    said = deployer.connect_command("docker", CHOSEN)
    assert said == "docker exec lab-server-1 xwhep-server join-line client --address grid.example.org:4321"
    assert deployer.connect_command("podman", Deploy(port=5000)).endswith(" --address localhost:5000")
