import json
import re
import shutil

import pytest

from charloom.analysis.diagnosis import diagnose
from charloom.config import NgramConfig, replace
from charloom.data.likeness import other_split
from charloom.runs.metrics import Line
from charloom.training.advice import advise
from charloom.training.facts import Facts, facts_of
from charloom.training.trend import Evaluation
from small_runs import NEVER, OFTEN, STEPS, TRAIN, config_of, new_run, played, stopped, write_text

TIMED = replace(TRAIN, minutes=3.0, iterations=100, schedule="cosine", clip_norm=None)


@pytest.fixture
def make(tmp_path):
    """Return what makes a run of some losses: (training, held-out) at every tenth step."""

    def make(*losses, train=TIMED, characters=10_000, seconds=180.0, **more):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run = new_run(tmp_path / "run", config_of(write_text(tmp_path), train=train))
        lines = [
            {
                "step": 10 * (k + 1),
                "characters": characters * (k + 1) // len(losses),
                "seconds": seconds * (k + 1) / len(losses),
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


def names(run):
    return [finding.name for finding in diagnose(run)]


FALLING = ((3.0, 2.9), (2.5, 2.4), (2.2, 2.1), (2.0, 1.9), (1.9, 1.8), (1.8, 1.7))


def test_the_facts_of_a_run_are_those_of_its_files(make):
    back = [{"at": 30, "to": 20, "loss": "nan"}, {"at": 28, "to": 20, "loss": "nan"}]
    found = facts_of(make((2.0, None), (1.5, 1.6), characters=722, setbacks=back))
    assert found == Facts(
        seen=(Evaluation(20, 3.0, 1.6, 1.75),),
        characters=390,
        held_out=39,
        step=20,
        minutes=3.0,
        used=3.0,
        iterations=100,
        read=722 / 351,
        rate=0.2,
        setbacks=((30, 20), (28, 20)),
        larger="--hidden 8",
    )
    assert not facts_of(make()).finished


def test_the_first_finding_is_what_training_said_at_its_end(make):
    for losses in (FALLING, FALLING[::-1], FALLING[:2], ()):
        run = make(*losses)
        assert diagnose(run)[0] == advise(facts_of(run))


def test_what_still_falls_needs_more_time(make):
    run = make(*FALLING)
    (improving,) = diagnose(run)
    assert (improving.name, improving.tone) == ("improving", "advice")
    assert "--minutes 10." in improving.advice
    assert figures(improving.text) == ["19"]


@pytest.mark.parametrize(
    ("train", "characters", "seconds", "finished"),
    [
        (TIMED, 500, 180.0, True),
        (TIMED, 500, 175.0, True),
        (TIMED, 500, 100.0, False),
        (replace(TIMED, epochs=50.0), 50 * 351, 20.0, True),  # the minutes were not needed
        (replace(TRAIN, iterations=60), 500, 20.0, True),
        (replace(TRAIN, iterations=61), 500, 20.0, False),
        (replace(TRAIN, iterations=None, epochs=3.0), 3 * 351, 20.0, True),
        (replace(TRAIN, iterations=None, epochs=4.0), 3 * 351, 20.0, False),
    ],
)
def test_whether_a_run_is_at_its_end_is_known_without_its_trainer(
    make, train, characters, seconds, finished
):
    run = make(*FALLING, train=train, characters=characters, seconds=seconds)
    assert facts_of(run).finished is finished
    assert (names(run) == ["stopped"]) is not finished


def test_a_run_that_was_interrupted_can_go_on(tmp_path):
    run = stopped(tmp_path / "run", config_of(write_text(tmp_path), watch=NEVER), 5)
    (finding,) = diagnose(run)
    assert finding.name == "stopped"
    assert figures(finding.text) == [str(facts_of(run).step), str(STEPS)]


def test_a_loss_that_swings_has_too_high_a_rate(make):
    values = (3.0, 2.0, 2.4, 1.9, 2.3, 1.8, 1.7)
    _, swings = diagnose(make(*((v, v) for v in values)))
    assert swings.name == "swings"
    assert figures(swings.text) == ["2", "6", "50"]
    assert "--learning-rate 0.1." in swings.advice
    assert "swings" not in names(make(*((v, v) for v in (3.0, 2.0, 1.9, 1.91, 1.8, 1.7))))


def test_setbacks_are_told_with_the_rate_to_begin_with(make):
    back = [{"at": 30, "to": 20, "loss": "nan"}, {"at": 28, "to": 20, "loss": "nan"}]
    (finding,) = diagnose(make((2.0, None), (1.5, 1.5), (1.6, 1.6), setbacks=back))
    assert finding.name == "setbacks"
    assert figures(finding.text) == ["2", "30", "20", "28", "20"]
    assert "--learning-rate 0.05." in finding.advice


def test_what_could_not_be_held_out_is_told_from_what_was_not(make, tmp_path):
    assert "stopped" in names(make())
    run = make((2.0, None), (1.5, None))
    assert names(run) == ["no-curve"]
    run.config = replace(run.config, data=replace(run.config.data, validation=0.0))
    assert names(run) == ["unmeasured"]
    run.config = replace(run.config, data=replace(run.config.data, validation=0.01))
    assert names(run) == ["too-little-text"]


def test_a_part_unlike_the_rest_is_split_otherwise(tmp_path):
    prose = "It was the best of times, it was the worst of times,\nit was the age of wisdom.\n"
    path = tmp_path / "two.txt"
    path.write_text(prose * 60 + "".join(f"[{n}, {n * n}, {n**3}, {n**5}]\n" for n in range(24)))
    config = replace(config_of(path, train=replace(TRAIN, iterations=4)), watch=OFTEN)
    run = played(tmp_path / "run", config)
    assert facts_of(run).otherwise == other_split(run.config.data, run.corpus.layout)
    lines = [Line(step=n, loss=1.0, validation=n / 4) for n in range(5, 11)]
    for line in lines:
        run.append_metrics(line)
    (finding,) = diagnose(run)
    assert finding.name == "unlike"
    assert "--split" in finding.advice


def test_losses_that_json_does_not_know_break_nothing(make):
    run = make((2.0, 2.0), (None, None), (1.5, float("inf")))
    text = (run.path / "metrics.jsonl").read_text().replace("Infinity", "null")
    (run.path / "metrics.jsonl").write_text(text + '{"step": 99}\n')
    assert diagnose(run)


def test_a_real_run_and_one_that_counts(tmp_path):
    config = config_of(write_text(tmp_path))
    run = played(tmp_path / "run", replace(config, watch=OFTEN))
    assert diagnose(run)
    assert run.metrics()[-1].step == STEPS
    ngram = played(tmp_path / "ngram", replace(config, model=NgramConfig(order=3)))
    (finding,) = diagnose(ngram)
    assert finding.name == "counted"
    assert figures(finding.text)[0] == "2"
    assert facts_of(ngram).loss == ngram.metrics()[0].validation
