import numpy as np
import pytest

from experiments.predictions import SitePredictions, joined, scored
from federation.errors import InternalError


def predictions(site="north", scores=(0.1, 0.8, 0.3), outcomes=(0, 1, 1), patients=(0, 0, 4)):
    return SitePredictions(site, np.array(scores), np.array(outcomes, dtype=float), np.array(patients))


def test_patients_are_counted_and_renumbered_without_gaps():
    found = predictions()
    assert (found.num_records, found.num_patients) == (3, 2)
    np.testing.assert_array_equal(scored("binary", found).patient_of_record, [0, 0, 1])


def test_patients_of_different_sites_are_different_patients():
    sites = tuple(scored("binary", predictions(name)) for name in ("north", "south"))
    np.testing.assert_array_equal(joined(sites).patient_of_record, [0, 0, 1, 2, 2, 3])


def test_no_patient_value_is_printed():
    assert "0.8" not in repr(predictions())


@pytest.mark.parametrize(
    "changes", [{"scores": (0.1, 0.2)}, {"patients": (0, 1)}, {"scores": (0.1, float("nan"), 0.3)}]
)
def test_what_does_not_fit_is_refused_without_showing_it(changes):
    with pytest.raises(InternalError, match="site north") as error:
        predictions(**changes)
    assert "0.3" not in str(error.value)
