import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.models.dropout import dropout_masks


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.floats(0, 0.9999),
    st.sampled_from(["float32", "float64"]),
)
def test_mask_is_zero_or_the_inverse_chance_and_a_function_of_its_arguments(
    seed: int, update: int, layers: int, rate: float, dtype: str
) -> None:
    masks = dropout_masks(seed, update, layers, (3, 10), rate, dtype)
    assert masks.shape == (layers, 3, 10)
    assert masks.dtype == dtype
    scale = np.dtype(dtype).type(1 / (1 - rate))
    assert np.isin(masks, [0, scale]).all()
    assert np.array_equal(masks, dropout_masks(seed, update, layers, (3, 10), rate, dtype))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 0.9])
def test_the_share_dropped_is_the_rate_and_the_mean_is_one(rate: float) -> None:
    mask = dropout_masks(0, 7, 2, (500, 200), rate, "float64")[1]
    # Five standard errors, and the rounding of chances to 1/65536.
    error = 5 * (rate * (1 - rate) / mask.size) ** 0.5 + 2**-17
    assert abs((mask == 0).mean() - rate) <= error
    assert abs(mask.mean() - 1) <= error / (1 - rate)


def test_seed_update_and_layer_each_give_another_mask() -> None:
    keys = [(0, 0), (1, 0), (0, 1), (1, 1), (2**62, 0)]
    masks = [mask for key in keys for mask in dropout_masks(*key, 2, (12, 50), 0.5, "float32")]
    for i, mask in enumerate(masks):
        for other in masks[:i]:
            # Two independent masks agree at half the places: 600 of them, five deviations.
            assert abs((mask == other).mean() - 0.5) < 5 * 0.5 / 600**0.5


def test_both_dtypes_drop_the_same_places() -> None:
    single, double = (dropout_masks(3, 5, 2, (9, 40), 0.3, t) for t in ("float32", "float64"))
    assert np.array_equal(single != 0, double != 0)
    assert np.array_equal(single, double.astype("float32"))
