"""A release is for everybody: it holds no secret of any deployment that this machine has.

deployments/* ──> their secrets ─┐
staged folder ──> every file ────┴──> found? ──> no release; what holds it is named
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from xwhep_packaging.deployment import folder as deployments
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.secret_scan import Scan, refuse_secrets, secrets_of

BASE = "base:image"


def refuse_private(pipeline: Pipeline, folder: Path) -> None:
    """Look at the whole folder, but for the layers of the base.

    Raises:
        SecretFound: there is a secret; names the file and the kind.
        DeploymentError, SecretsExposed: a deployment cannot be read.
    """
    parent, unread = pipeline.settings.deployments_folder, list(_layers_of_base(pipeline, folder / "oci"))
    for name in deployments.names(parent):
        scan = Scan(secrets_of(deployments.read(parent, name)))
        refuse_secrets(list(scan.folder(folder, unread)))


def _layers_of_base(pipeline: Pipeline, layout: Path) -> Iterator[Path]:
    """They hold locked packages and nothing else, are made where no deployment can be seen, and are large."""
    known = pipeline.output(BASE).manifest.facts["layers"] if BASE in pipeline.steps else []
    for entry in json.loads((layout / "index.json").read_bytes())["manifests"]:
        manifest = json.loads(_blob(layout, entry["digest"]).read_bytes())
        config = json.loads(_blob(layout, manifest["config"]["digest"]).read_bytes())
        for layer, content in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            if content in known:
                yield _blob(layout, layer["digest"])


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")
