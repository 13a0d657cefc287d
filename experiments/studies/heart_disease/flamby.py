"""Fed-Heart-Disease exactly as published, for comparison only.

Ogier du Terrail et al. 2022, "FLamby: Datasets and Benchmarks for Cross-Silo Federated Learning in Realistic Healthcare Settings",
section 4 and the code of ``flamby/datasets/fed_heart_disease``. What its published figures depend on, with the pooled test
accuracy of the pooled model and of FedAvg that each alternative reaches (mean over seeds 42-46; as published: 0.797 and 0.748):

* **Two scalings.** A hospital's patients are standardised with the mean and sd of its own training patients. The *pooled*
  reference, and every figure called "pooled test", FedAvg's included, use the mean and sd of all training patients instead.
  With each hospital's own scaling throughout: 0.728 and 0.705.
* **Everything is standardised**, the indicators of cp and restecg included. Without those: 0.793 and 0.730; with no binary
  feature standardised: 0.798 and 0.691.
* **The division.** ``train_test_split`` with ``random_state=43`` on the positions of the complete rows in file order, stratified by
  outcome unless a class has two patients or fewer (Switzerland). Training rows keep their file order. Not
  stratified: 0.816 and 0.758.
* The sd has ddof 1 and 1e-9 added (a column may be constant: cholesterol at Switzerland is 0); with ddof 0 nothing changes.
* 1,500 small steps leave FedAvg near its initial weights: another order of features under the same seeds gives 0.776.

Both scalings are unpaid releases in a private study, which is why only this recipe uses them.

Axis names: R records, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from federation.data.contract import Categorical, DataContract
from federation.data.encoding import feature_names
from site_client.patients import PatientDataset, Records, SiteData

FloatArray = NDArray[np.float64]

TRAINING_FRACTION: Final = 0.66
SPLIT_SEED: Final = 43
_EPSILON: Final = 1e-9


@dataclass(frozen=True)
class _CompleteRows:
    """Complete records of one hospital in file order; ``training`` marks the rows of the training part."""

    site: str
    features: FloatArray
    outcomes: FloatArray
    training: NDArray[np.bool_]


def divide_as_published(
    hospitals: tuple[Records, ...], *, contract: DataContract
) -> tuple[tuple[SiteData, ...], tuple[SiteData, ...]]:
    """Select, divide and standardise as FLamby does.

    Args:
        hospitals: Records of every hospital; patient keys are row numbers of the file, as text.
        contract: The FLamby contract.

    Returns:
        The divided patients of every hospital, twice: standardised with the hospital's own training patients, and with the
        training patients of all hospitals together.
    """
    complete = [_complete_rows(records, contract=contract) for records in hospitals]
    pooled = np.concatenate([rows.features[rows.training] for rows in complete])
    names = tuple(feature_names(contract))
    own = tuple(_site_data(rows, reference=rows.features[rows.training], names=names) for rows in complete)
    together = tuple(_site_data(rows, reference=pooled, names=names) for rows in complete)
    return own, together


def _complete_rows(records: Records, *, contract: DataContract) -> _CompleteRows:
    in_file_order = records.rows(np.argsort(records.patient_keys.astype(np.int64), kind="stable"))
    present = np.all([~np.isnan(in_file_order.values[variable.name]) for variable in contract.columns], axis=0)
    kept = in_file_order.rows(present)
    outcomes = kept.values[contract.outcome.name]
    positions = np.arange(len(kept))
    counts = np.unique(outcomes, return_counts=True)[1]
    stratified = len(counts) > 1 and bool(np.all(counts > 2))  # noqa: PLR2004 - as published
    chosen, _ = train_test_split(
        positions,
        train_size=TRAINING_FRACTION,
        test_size=1 - TRAINING_FRACTION,
        random_state=SPLIT_SEED,
        shuffle=True,
        stratify=outcomes if stratified else None,
    )
    return _CompleteRows(
        site=records.site,
        features=_raw_features(kept, contract=contract),
        outcomes=outcomes,
        training=np.isin(positions, chosen),
    )


def _raw_features(records: Records, *, contract: DataContract) -> FloatArray:
    """``[R, F]``: numbers as recorded, coded variables one-hot without their first level."""
    columns: list[FloatArray] = []
    for variable in contract.variables:
        column = records.values[variable.name]
        if isinstance(variable, Categorical):
            columns += [(column == level).astype(np.float64) for level in range(1, len(variable.levels))]
        else:
            columns.append(column)
    return np.stack(columns, axis=1)


def _site_data(rows: _CompleteRows, *, reference: FloatArray, names: tuple[str, ...]) -> SiteData:
    scaled = (rows.features - reference.mean(axis=0)) / (reference.std(axis=0, ddof=1) + _EPSILON)

    def part(chosen: NDArray[np.bool_]) -> PatientDataset:
        return PatientDataset(
            features=scaled[chosen].astype(np.float32),
            outcomes=rows.outcomes[chosen].astype(np.float32),
            patient_index=np.arange(int(chosen.sum()), dtype=np.int64),
            feature_names=names,
        )

    return SiteData(site=rows.site, training=part(rows.training), test=part(~rows.training))
