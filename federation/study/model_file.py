"""The model of a study as a file: safetensors with the parameters, the public map of the features, and the manifest's digest."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from federation.data.encoding import feature_names, num_outputs
from federation.data.prepared_features import PreparedFeatures
from federation.errors import CohortiumError, InvalidInputError, ReleaseRefusedError
from federation.privacy.promise import NoPrivacy
from federation.study.manifest import StudyManifest

if TYPE_CHECKING:
    from torch import nn

LARGEST_MODEL: Final = 2**31
"""Bytes."""
_HEADER: Final = "cohortium"
_PARAMETERS: Final = "parameters"
_PREPARATION: Final = "preparation/"


@dataclass(frozen=True)
class StudyModel:
    """The trained model of one study.

    Attributes:
        manifest: Of the study.
        parameters: ``[D]`` float32, in the layout of the model that the manifest describes.
        prepared: The public map of the features, if the study paid for one.
    """

    manifest: StudyManifest
    parameters: NDArray[np.float32] = field(repr=False)
    prepared: PreparedFeatures | None = None

    def module(self) -> nn.Module:
        """The network, in evaluation mode.

        Raises:
            ReleaseRefusedError: If the number of parameters is not the network's.
        """
        from federation.models.build import build_model
        from federation.models.parameters import load as load_parameters

        contract, task = self.manifest.contract, self.manifest.objective
        module = build_model(
            self.manifest.model,
            task=task,
            num_features=len(feature_names(contract)),
            num_outputs=num_outputs(contract, task),
            private=not isinstance(self.manifest.privacy, NoPrivacy),
        )
        try:
            load_parameters(module, self.parameters)
        except InvalidInputError as failure:
            raise _refused("it has another number of parameters than the network of the manifest") from failure
        return module.eval()


def model_bytes(manifest_digest: str, parameters: NDArray[np.float32], prepared: PreparedFeatures | None) -> bytes:
    """A model file; :func:`read_model` reads it.

    Args:
        manifest_digest: Of the study.
        parameters: ``[D]``.
        prepared: The public map of the features, without which the model of a study that paid for one is of no use.
    """
    arrays: dict[str, NDArray[Any]] = {_PARAMETERS: parameters}
    if prepared is not None:
        arrays |= {f"{_PREPARATION}{name}": vector for name, vector in prepared.to_arrays().items()}
    return save(arrays, {_HEADER: json.dumps({"manifest": manifest_digest})})


def read_model(content: bytes, manifest: StudyManifest) -> StudyModel:
    """Read a model file of the study that ``manifest`` describes.

    Args:
        content: Of the file.
        manifest: Which the file must name.

    Raises:
        ReleaseRefusedError: If it is not a model file, of another study, not finite, or without the map that the study paid for.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        names = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_HEADER])
        arrays = load(content)
        digest = names["manifest"]
        prepared = _prepared(arrays, manifest)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, CohortiumError) as failure:
        raise _refused("it does not parse as a model file") from failure
    if digest != manifest.digest:
        raise _refused("it is the model of another study")
    parameters = arrays.get(_PARAMETERS)
    if parameters is None or parameters.ndim != 1 or parameters.dtype != np.float32:
        raise _refused("it has no flat vector of parameters")
    if not np.isfinite(parameters).all():
        raise _refused("its parameters are not finite")
    if (prepared is None) != (manifest.preparation is None):
        raise _refused("the map of the features is missing, or there is one that the manifest does not have")
    return StudyModel(manifest=manifest, parameters=parameters, prepared=prepared)


def _prepared(arrays: dict[str, NDArray[np.generic]], manifest: StudyManifest) -> PreparedFeatures | None:
    mapped = {
        name.removeprefix(_PREPARATION): array.astype(np.float64)
        for name, array in arrays.items()
        if name.startswith(_PREPARATION)
    }
    if not mapped or manifest.preparation is None:
        return None
    width = len(feature_names(manifest.contract))
    return PreparedFeatures.from_arrays(mapped, limit=manifest.preparation.limit, num_features=width)


def _refused(problem: str) -> ReleaseRefusedError:
    return ReleaseRefusedError(
        f"expected the model of the study, got a file of which must be said: {problem}",
        remedy="use the model file that the study wrote, unchanged",
    )
