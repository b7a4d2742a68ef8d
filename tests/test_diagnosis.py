import json
import re
import shutil

import pytest

from charloom.analysis.diagnosis import diagnose
from charloom.config import ModelConfig, NgramConfig, replace
from charloom.training.planning import new_run
from small_runs import OFTEN, STEPS, TRAIN, config_of, played, write_text

TIMED = replace(TRAIN, minutes=3.0, iterations=100, schedule="cosine", clip_norm=None)


@pytest.fixture
def make(tmp_path):
    """Return what makes a run of some losses: (training, held-out) at every tenth step."""

    def make(*losses, train=TIMED, characters=10_000, **more):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = new_run(tmp_path / "run", config_of(write_text(tmp_path), train=train))
        lines = [
            {
                "step": 10 * (k + 1),
                "characters": characters * (k + 1) // len(losses),
                "seconds": 20.0 * (k + 1),
                "loss": training,
            }
            | ({} if held_out is None else {"validation": held_out})
            | (more if k == 0 else {})
            for k, (training, held_out) in enumerate(losses)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (run.path / "metrics.jsonl").write_text(text)
        return run

    return make


def figures(text):
    return re.findall(r"\d+(?:\.\d+)?", text)


def found(run):
    return {finding.name: finding for finding in diagnose(run)}


def test_what_still_falls_needs_more_time(make):
    seen = found(make((3.0, 2.9), (2.5, 2.4), (2.2, 2.1), (2.0, 1.9), (1.9, 1.8), (1.8, 1.7)))
    assert seen.keys() == {"improving", "balanced"}
    improving = seen["improving"]
    assert improving.tone == "advice"
    assert "--minutes 10." in improving.advice
    assert figures(improving.text) == ["19", "2.100", "1.700", "2.453"]
    assert improving.figures == pytest.approx({"half": 2.1, "last": 1.7, "fallen": 1 - 1.7 / 2.1})


def test_what_has_no_minutes_is_given_more_steps(make):
    train = replace(TRAIN, iterations=60)
    seen = found(make(*((4 - k / 3, 4 - k / 3) for k in range(6)), train=train))
    assert "--iterations 120." in seen["improving"].advice


def test_what_has_turned_learned_by_heart(make):
    seen = found(make((2.0, 2.0), (1.5, 1.5), (1.0, 1.6), (0.8, 1.8), (0.6, 2.0)))
    assert seen.keys() == {"turned", "overfitting"}
    assert figures(seen["turned"].text)[:3] == ["20", "1.500", "2.164"]
    assert seen["turned"].figures == {"best": 1.5, "best_step": 20, "last": 2.0}
    assert "233" in figures(seen["overfitting"].text)
    assert "--dropout 0.4" in seen["overfitting"].advice
    assert {finding.tone for finding in seen.values()} == {"warning"}


def test_what_is_level_and_apart_knows_parts_by_heart(make):
    seen = found(make((2.0, 2.0), (1.2, 1.51), (1.1, 1.5), (1.1, 1.5), (1.1, 1.5), (1.1, 1.5)))
    assert seen.keys() == {"level", "overfitting"}


def test_what_is_level_and_close_together_is_too_small(make):
    seen = found(make((2.0, 2.0), (1.5, 1.5), (1.5, 1.5), (1.5, 1.5), (1.5, 1.5), (1.5, 1.5)))
    assert seen.keys() == {"level", "underfitting"}
    assert "--hidden 8" in seen["underfitting"].advice
    assert seen["underfitting"].figures["characters"] == 390


def test_a_loss_that_swings_has_too_high_a_rate(make):
    values = (3.0, 2.0, 2.4, 1.9, 2.3, 1.8, 1.7)
    seen = found(make(*((v, v) for v in values)))
    assert figures(seen["swings"].text) == ["2", "6", "50"]
    assert "--learning-rate 0.1)" in seen["swings"].advice
    calm = found(make(*((v, v) for v in (3.0, 2.0, 1.9, 1.91, 1.8, 1.7))))
    assert "swings" not in calm


def test_setbacks_are_told_with_the_rate_to_begin_with(make):
    back = [{"at": 30, "to": 20, "loss": "nan"}, {"at": 28, "to": 20, "loss": "nan"}]
    seen = found(make((2.0, None), (1.5, 1.5), setbacks=back))
    assert figures(seen["setbacks"].text) == ["2", "30", "20", "28", "20"]
    assert "--learning-rate 0.05" in seen["setbacks"].advice
    assert "--clip-norm 1." in seen["setbacks"].advice
    assert diagnose_first(seen) == "setbacks"


def diagnose_first(seen):
    return next(iter(seen))


def test_what_was_not_measured_is_said(make):
    seen = found(make((2.0, None), (1.5, None)))
    assert diagnose_first(seen) == "unmeasured"
    assert "charloom evaluate" in seen["unmeasured"].advice


def test_what_was_stopped_can_go_on(make):
    seen = found(make((2.0, 2.0), (1.5, 1.5), train=replace(TRAIN, iterations=99)))
    assert figures(seen["stopped"].text) == ["20", "99"]


def test_a_text_that_was_not_read_through_is_said(make):
    seen = found(make((2.0, 2.0), (1.5, 1.5), characters=200))
    assert figures(seen["unread"].text) == ["57"]


def test_losses_that_json_does_not_know_break_nothing(make):
    values = [(2.0, 2.0), (None, None), (1.5, float("inf"))]
    run = make(*[(t, h) for t, h in values])
    text = (run.path / "metrics.jsonl").read_text().replace("Infinity", "null")
    (run.path / "metrics.jsonl").write_text(text + '{"step": 99}\n')
    assert diagnose(run)


def test_too_few_looks_tell_nothing(make):
    seen = found(make((2.0, 2.5)))
    assert seen.keys() == {"overfitting"}
    assert found(make()).keys() == {"unmeasured"}


def test_every_finding_says_what_it_comes_from(make):
    run = make((2.0, 2.0), (1.5, 1.5), (1.0, 1.6), (0.8, 1.8), (0.6, 2.0))
    for finding in diagnose(run):
        assert finding.title
        assert finding.text.endswith(".")
        assert finding.figures
        assert not finding.advice or finding.advice.endswith(".")


def test_a_real_run_and_one_that_counts(tmp_path):
    config = config_of(write_text(tmp_path))
    run = played(tmp_path / "run", replace(config, watch=OFTEN))
    assert diagnose(run)
    assert run.metrics()[-1].step == STEPS
    ngram = played(tmp_path / "ngram", replace(config, model=NgramConfig(order=3)))
    (finding,) = diagnose(ngram)
    assert finding.name == "counted"
    assert figures(finding.text)[0] == "2"
    assert finding.figures["held_out"] == ngram.metrics()[0].validation
    assert isinstance(run.config.model, ModelConfig)
