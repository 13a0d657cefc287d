"""Federated algorithms described as frozen data; the arithmetic is in the module of the same name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document

Rate = Annotated[float, Field(gt=0)]
Beta = Annotated[float, Field(ge=0, lt=1)]
BiasCorrection = Literal["none", "adam", "flower"]
"""``none``: Reddi et al. 2021 and FLamby; ``adam``: Kingma & Ba 2015 with exponent r in round r; ``flower``: with exponent r + 1,
as Flower's FedAdam."""


class FedAvgSpec(Document):
    """Weighted mean of the updates (McMahan et al. 2017)."""

    kind: Literal["fedavg"]
    server_learning_rate: Rate = 1.0


class FedProxSpec(Document):
    """FedAvg with a proximal term at the sites (Li et al. 2020, eq. 2)."""

    kind: Literal["fedprox"]
    mu: Annotated[float, Field(ge=0)] = 0.1
    server_learning_rate: Rate = 1.0


class ScaffoldSpec(Document):
    """Control variates against client drift (Karimireddy et al. 2020, algorithm 1, option II)."""

    kind: Literal["scaffold"]
    server_learning_rate: Rate = 1.0


class FedAvgMSpec(Document):
    """FedAvg with server momentum (Hsu et al. 2019)."""

    kind: Literal["fedavgm"]
    server_learning_rate: Rate = 1.0
    momentum: Beta = 0.9


class _AdaptiveSpec(Document):
    server_learning_rate: Rate = 0.1
    tau: Annotated[float, Field(gt=0)] = 1e-3
    """Degree of adaptivity, added to the root of the second moment."""


class FedAdagradSpec(_AdaptiveSpec):
    """Reddi et al. 2021, algorithm 2."""

    kind: Literal["fedadagrad"]
    beta_1: Beta = 0.0


class FedAdamSpec(_AdaptiveSpec):
    """Reddi et al. 2021, algorithm 2."""

    kind: Literal["fedadam"]
    beta_1: Beta = 0.9
    beta_2: Beta = 0.99
    bias_correction: BiasCorrection = "none"


class FedYogiSpec(_AdaptiveSpec):
    """Reddi et al. 2021, algorithm 2."""

    kind: Literal["fedyogi"]
    beta_1: Beta = 0.9
    beta_2: Beta = 0.99
    bias_correction: BiasCorrection = "none"


AlgorithmSpec = Annotated[
    FedAvgSpec | FedProxSpec | ScaffoldSpec | FedAvgMSpec | FedAdagradSpec | FedAdamSpec | FedYogiSpec,
    Field(discriminator="kind"),
]
