import math

import pytest

from charloom.training.divergence import (
    ENOUGH_CHARACTERS,
    FEWEST_CHARACTERS,
    JUMP_NATS,
    Detector,
    Divergence,
)


class Model:
    """A learner whose loss is now `nats` on whatever it is asked about."""

    def __init__(self, nats=2.0):
        self.nats, self.asked = nats, []

    def loss(self, inputs, targets):
        self.asked.append((inputs, targets))
        return self.nats


def detector_of(model, characters=1024, losses=(2.0, 2.2, 1.8)):
    """A detector that compares with as many steps as are enough: two of 1,024 characters."""
    detector = Detector(model, characters)
    for number, loss in enumerate(losses):
        detector.see(number, loss, number, -number)
    return detector


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("known", [0, 3])
def test_nan_and_infinity_need_no_proof(bad, known):
    model = Model()
    with pytest.raises(Divergence) as caught:
        detector_of(model, losses=[2.0] * known).see(17, bad, 9, 9)
    assert (caught.value.step, repr(caught.value.loss)) == (17, repr(bad))
    assert model.asked == []


def test_a_jump_is_a_divergence_if_the_loss_of_the_steps_before_has_risen_too():
    model = Model(nats=2.0 + JUMP_NATS + 0.02)
    detector = detector_of(model)
    with pytest.raises(Divergence) as caught:
        detector.see(4, 2.0 + JUMP_NATS + 0.01, 3, -3)
    assert (caught.value.step, caught.value.loss) == (4, model.nats)
    assert model.asked == [(1, -1), (2, -2)]
    detector_of(Model()).see(4, 2.0 + JUMP_NATS - 0.01, 3, -3)


def test_losses_on_a_text_that_has_become_hard_are_the_new_measure():
    model = Model()
    detector = detector_of(model)
    for step, loss in enumerate((6.0, 6.0, 5.5, 5.8), 4):
        detector.see(step, loss, 9, 9)
    assert len(model.asked) == 2
    model.nats = 9.0
    with pytest.raises(Divergence):
        detector.see(8, 5.65 + JUMP_NATS + 0.01, 9, 9)


def test_before_a_checkpoint_the_steps_before_are_computed_again():
    model = Model()
    detector = detector_of(model)
    assert model.asked == []
    detector.check(3)
    assert len(model.asked) == 2
    model.nats = 9.0
    with pytest.raises(Divergence):
        detector.check(3)
    detector_of(model, losses=[]).check(0)  # nothing is known yet


@pytest.mark.parametrize("characters", [1, 25, FEWEST_CHARACTERS - 1])
def test_steps_of_few_characters_are_not_judged_by_jumps(characters):
    model = Model(nats=99.0)
    detector = detector_of(model, characters, losses=[2.0] * 9)
    detector.see(10, 1e300, 1, 1)
    detector.check(10)
    assert model.asked == []


@pytest.mark.parametrize("characters", [FEWEST_CHARACTERS, 1500, ENOUGH_CHARACTERS, 10**6])
def test_as_many_steps_are_computed_again_as_are_enough(characters):
    model = Model(nats=9.0)
    with pytest.raises(Divergence):
        detector_of(model, characters, losses=[2.0] * 9).check(9)
    assert len(model.asked) == -(-ENOUGH_CHARACTERS // characters)
