"""Images as an OCI layout: blobs by digest, one index that names each image by several tags.

engine's storage ──> layers, as they are ──> gzip, each once ──┐
config.json, as it is (so image ids stay) ─────────────────────┼──> blobs/sha256 ──> index.json
                                                               │
                                       a manifest, with the release's commit as annotation
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output
from xwhep_packaging.command import Command
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.encoder import compressed
from xwhep_packaging.temporary import temporary_folder

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
NAME = "org.opencontainers.image.ref.name"
PRIVATE = "org.xwhep.private"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Named:
    """An image and all names it gets in the layout; `annotations` join its manifest."""

    image: Output
    names: tuple[str, ...]
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Layout:
    """A folder; what is written twice is written once."""

    folder: Path

    def write(self, images: Iterable[Named]) -> dict[str, str]:
        """The whole layout. Returns each image's manifest digest by the image's name.

        Raises:
            ReleaseError: an image is a deployment's own, or the engine's storage no longer has a layer.
        """
        self._blobs.mkdir(parents=True)
        descriptors, digests, packed = [], {}, dict[str, dict[str, Any]]()
        for named in images:
            manifest = self._manifest(named, packed)
            digests[named.image.manifest.name] = str(manifest["digest"])
            descriptors += [{**manifest, "annotations": {NAME: name}} for name in named.names]
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": descriptors}
        (self.folder / "index.json").write_bytes(_json(index))
        (self.folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
        return digests

    @property
    def _blobs(self) -> Path:
        return self.folder / "blobs" / "sha256"

    def _manifest(self, named: Named, packed: dict[str, dict[str, Any]]) -> dict[str, Any]:
        config = named.image.path("config.json").read_bytes()
        refuse_private(named.image.manifest.name, json.loads(config))
        wanted = [layer for layer in named.image.manifest.facts["layers"] if layer not in packed]
        if wanted:
            packed |= self._layers(named.image.manifest.facts["digest"], wanted)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self._blob(config, CONFIG_TYPE),
            "layers": [packed[layer] for layer in named.image.manifest.facts["layers"]],
            "annotations": dict(named.annotations),
        }
        return self._blob(_json(manifest), MANIFEST_TYPE)

    def _layers(self, image: str, wanted: list[str]) -> dict[str, dict[str, Any]]:
        with temporary_folder("layers") as folder:
            what = f"cannot read image {image} from the engine's storage"
            argv = ["buildah", "push", "--quiet", "--disable-compression", image, f"dir:{folder}"]
            command.run(Command(argv=argv, error=ReleaseError, what=what, next_step="scripts/doit images"))
            return {layer: self._packed(folder / layer.removeprefix("sha256:")) for layer in wanted}

    def _packed(self, layer: Path) -> dict[str, Any]:
        part, whole, size = self._blobs / "part", hashlib.sha256(), 0
        with layer.open("rb") as source, part.open("wb") as target:
            for done in compressed(iter(partial(source.read, CHUNK_BYTES), b"")):
                target.write(done)
                whole.update(done)
            size = target.tell()
        part.rename(self._blobs / whole.hexdigest())
        return {"mediaType": LAYER_TYPE, "size": size, "digest": f"sha256:{whole.hexdigest()}"}

    def _blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        (self._blobs / sha256).write_bytes(content)
        return {"mediaType": media_type, "size": len(content), "digest": f"sha256:{sha256}"}


def refuse_private(name: str, config: Mapping[str, Any]) -> None:
    """Whatever brought it here, an image with a deployment's secrets in it is not published.

    Raises:
        ReleaseError: its label says that it is one.
    """
    labels = config.get("config", {}).get("Labels") or {}
    if labels.get(PRIVATE) == "true":
        raise ReleaseError(
            f"image {name} is private: it is bound to a deployment",
            next_step="release the role image that it stands on, xwhep-ROLE:VERSION",
        )


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
