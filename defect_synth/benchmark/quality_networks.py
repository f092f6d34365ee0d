"""The settings and networks of the quality task."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from defect_synth.config import Frozen
from defect_synth.errors import ConfigError
from defect_synth.metrics.clustered_lpips import PerceptualEmbedding
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.features import FeatureExtractor, RandomFeatures
from defect_synth.metrics.inception import InceptionFeatures
from defect_synth.metrics.lpips import LPIPS


class QualityConfig(Frozen):
    """How the quality of generated images is measured; the same for every system."""

    count: int = Field(
        default=1000, ge=2, le=100_000, description="Generated images of each defect; 5,000 for the paper's KID."
    )
    lpips_count: int = Field(
        default=1000, ge=2, le=100_000, description="How many of them are used for clustered LPIPS; 1,000 in the paper."
    )
    inception: Path | None = Field(
        default=None, description="Inception weights of 2015, with which the distance is KID."
    )
    features: Path | None = Field(
        default=None,
        description="EfficientNet-Lite0 weights, the stand-in without Inception; None: random convolutions.",
    )
    lpips_alexnet: Path | None = Field(default=None, description="AlexNet weights, for LPIPS.")
    lpips_linear: Path | None = Field(default=None, description="Linear weights of LPIPS v0.1.")


class QualityNetworks(NamedTuple):
    """The networks that images are compared with.

    Attributes:
        extractor: Features for distances and nearest neighbours.
        embedding: Distances within clusters; None: the extractor stands in.
        digest: Identifies both.
    """

    extractor: FeatureExtractor
    embedding: PerceptualEmbedding | None
    digest: str


def load_quality_networks(config: QualityConfig, device: str) -> QualityNetworks:
    """Read the networks that the settings name.

    Raises:
        ConfigError: One of the two files of LPIPS is missing.
        CheckpointError: A file does not hold the weights of its network.
    """
    extractor: FeatureExtractor
    if config.inception is not None:
        extractor = InceptionFeatures(config.inception).to(device)
    elif config.features is not None:
        extractor = EfficientNetLite0(config.features).to(device)
    else:
        extractor = RandomFeatures()
    alexnet, linear = config.lpips_alexnet, config.lpips_linear
    if (alexnet is None) != (linear is None):
        raise ConfigError("LPIPS needs both files, lpips_alexnet and lpips_linear; give the other one or neither")
    embedding = None if alexnet is None or linear is None else LPIPS.load(alexnet, linear).to(device)
    digest = extractor.digest + ("" if embedding is None else f" {embedding.digest}")
    return QualityNetworks(extractor, embedding, digest)
