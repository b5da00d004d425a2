"""docs/howto/kubernetes.md against the manifests that the page's first command writes; there is no cluster here.

What the commands name (namespace, pod, container, service, secret) is in the manifests; the manifests fit the schemas
of Kubernetes; what kubectl can do without a cluster it does.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from howto import block, blocks

PAGE = "kubernetes"
VERSION = "1.34.0"
LINE = "echo 'https://xwhep-server:4321 0123 token' | xwhep-worker join"
NAMED = re.compile(r"\b(statefulset|deployment|service)/([a-z-]+)")
DELETED = re.compile(r"kubectl delete -k (\S+)`")


@pytest.fixture(scope="module")
def folder(built: Any) -> Path:
    """Where the page's commands are typed."""
    assert block(PAGE, "scripts/doit ") == "scripts/doit deploy:kubernetes\n"
    built.doit("deploy:kubernetes")
    return Path(built.folder)


@pytest.fixture(scope="module")
def objects(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` of the page sends."""
    overlay = shlex.split(block(PAGE, "kubectl apply").splitlines()[0])[-1]
    return list(yaml.safe_load_all(kubectl(folder, "kustomize", overlay)))


def kubectl(folder: Path, *words: str, text: str = "") -> str:
    program = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
    done = subprocess.run([program, *words], cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(objects: list[dict[str, Any]], kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in objects if each["kind"] == kind}


def commands() -> list[list[str]]:
    """Every call of kubectl on the page, in words."""
    text = "\n".join(blocks(PAGE)).replace("|\n", "| ")
    lines = [line.strip(" ()") for line in re.split(r"[|\n;]", text)]
    return [shlex.split(line) for line in lines if line.startswith("kubectl ")]


def test_manifests_of_this_build_fit_the_schemas(objects: list[dict[str, Any]]) -> None:
    assert names(objects, "StatefulSet") == {"xwhep-server"}
    for each in objects:
        kubernetes_validate.validate(each, VERSION, strict=True)


def test_every_command_names_what_is_there(objects: list[dict[str, Any]]) -> None:
    (namespace,) = names(objects, "Namespace")
    assert len(commands()) >= 7
    for words in commands():
        if "-k" not in words:
            assert words[1:3] == ["--namespace", namespace]
        for kind, name in NAMED.findall(" ".join(words)):
            kinds = {"statefulset": "StatefulSet", "deployment": "Deployment", "service": "Service"}
            assert name in names(objects, kinds[kind]), words
    inside = [words for words in commands() if "exec" in words]
    server = next(each for each in objects if each["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    assert len(inside) == 3
    for words in inside:
        assert words[words.index("exec") + 1] == "xwhep-server-0"
        assert words[words.index("--container") + 1] in {each["name"] for each in server["containers"]}


def test_the_secret_of_the_page_is_the_one_that_workers_wait_for(folder: Path, objects: list[dict[str, Any]]) -> None:
    """kubectl makes it, but sends it nowhere."""
    (words,) = [words for words in commands() if "secret" in words]
    made = yaml.safe_load(kubectl(folder, *words[1:], "--dry-run=client", "--output=yaml", text=LINE))
    worker = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    assert made["metadata"]["name"] in {
        volume["secret"]["secretName"] for volume in worker["volumes"] if "secret" in volume
    }
    (environment,) = [each["value"] for each in worker["containers"][0]["env"] if each["name"] == "XWHEP_JOIN_FILE"]
    assert list(made["data"]) == [Path(environment).name]


def test_the_end_takes_the_namespace_and_all_that_is_in_it(objects: list[dict[str, Any]]) -> None:
    text = Path(__file__).parents[3].joinpath("docs", "howto", f"{PAGE}.md").read_text(encoding="utf-8")
    (removed,) = DELETED.findall(text)
    assert removed == shlex.split(block(PAGE, "kubectl apply").splitlines()[0])[-1]
    (namespace,) = names(objects, "Namespace")
    outside = [each for each in objects if each["metadata"].get("namespace") != namespace]
    assert [each["kind"] for each in outside] == ["Namespace"]
