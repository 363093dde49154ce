"""manifest.json: what a run on a cluster is, written once, when its plan is complete and the first worker is ready."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from qdebias.backends.base import identity_difference
from qdebias.errors import StoreError
from qdebias.integrations.ray.folder import Folder
from qdebias.integrations.ray.plan import Extent

FORMAT = 1
NAME = "manifest.json"
SCORES = "scores"
SETTINGS = "settings of the method"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What manifest.json says.

    Attributes:
        setting: What decides the scores, see `Setting.decisive`.
        identity: Identity of the model, see `qdebias.Fingerprint`.
        chunk: Most images in a chunk of those that are named one by one.
        extent: What the plan amounts to.
    """

    setting: Mapping[str, str]
    identity: Mapping[str, str]
    chunk: int
    extent: Extent

    def check_setting(self, setting: Mapping[str, str]) -> None:
        """Refuse to go on with another model or method.

        Raises:
            StoreError: Names each difference.
        """
        same = self.setting.get(SETTINGS) == setting.get(SETTINGS)  # by whatever name, as `paper-eq7` once was `paper`
        differences = identity_difference({**self.setting} | ({"method": setting["method"]} if same else {}), setting)
        if not same and self.setting.get("method") == setting["method"]:
            differences.append("what was paper is paper-eq7 now, and average average+eq7")
        _refuse(differences)

    def check_identity(self, identity: Mapping[str, str]) -> None:
        """Refuse a model whose answers must not be mixed with those of the run.

        Raises:
            StoreError: Names each difference.
        """
        _refuse(identity_difference(self.identity, identity))

    def check_listing(self, extent: Extent) -> None:
        """Refuse images that are not those of the plan.

        Raises:
            StoreError: They are others, or in another order.
        """
        if extent != self.extent:
            raise StoreError(
                f"the images are not those that this run was begun with ({_words(self.extent)} then, "
                f"{_words(extent)} now, or others of the same number); score what was added into another folder, or "
                f"name the images of the beginning"
            )


def read_manifest(folder: Folder) -> Manifest | None:
    """Return what the folder's manifest.json says, None where there is none.

    Raises:
        StoreError: It is not of this format, or there are scores without a manifest.
    """
    data = folder.read(NAME)
    if data is None:
        if folder.names(SCORES):
            raise StoreError(f"{folder}: has {SCORES} but no {NAME}; choose another folder")
        return None
    try:
        values = json.loads(data)
        if values.pop("format") != FORMAT:
            raise StoreError(f"{NAME}: was written by another version of qdebias; use that one, or another folder")
        return Manifest(**values | {"extent": Extent(**values["extent"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{NAME}: is no description of a run ({error}); choose another folder") from error


def write_manifest(folder: Folder, manifest: Manifest) -> None:
    """Write manifest.json."""
    folder.write(NAME, (json.dumps({"format": FORMAT} | asdict(manifest), indent=1) + "\n").encode())


def score_file(chunk: int) -> str:
    """Return the name of the file with the scores of a chunk."""
    return f"{SCORES}/{chunk:08}.parquet"


def _refuse(differences: list[str]) -> None:
    if differences:
        raise StoreError(f"the folder holds scores of another kind ({'; '.join(differences)}); choose another folder")


def _words(extent: Extent) -> str:
    images = "" if extent.images is None else f"{extent.images:,} images in "
    return f"{images}{extent.chunks:,} chunks"
