import struct
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from charloom.cli import charloom
from charloom.cli.resume import recording
from charloom.config import NgramConfig, replace
from charloom.training.events import Finished, Saved, Started, Warned
from charloom.training.loop import train
from charloom.training.tensorboard import LN2, recorded
from expect import refused
from small_runs import OFTEN, STEPS, config_of, copied, new_run, outcome, stopped, write_text

tensorboard_x = pytest.importorskip("tensorboardX")

LOSSES = {
    f"{unit}_per_character/{of}" for unit in ("nats", "bits") for of in ("training", "validation")
}


def records(path):
    """The records of an event file, as the format has them: length, its sum, data, its sum."""
    from tensorboardX.record_writer import masked_crc32c

    content, place = path.read_bytes(), 0
    while place < len(content):
        (size, check) = struct.unpack_from("<QI", content, place)
        assert check == masked_crc32c(content[place : place + 8])
        data = content[place + 12 : place + 12 + size]
        assert (masked_crc32c(data),) == struct.unpack_from("<I", content, place + 12 + size)
        place += 16 + size
        yield data


def read(folder):
    """What TensorBoard would show of a folder: values by tag and step, purged as it purges."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    numbers, texts = {}, {}
    for path in sorted((Path(folder) / "tensorboard").iterdir()):
        events = [Event.FromString(data) for data in records(path)]
        assert events[0].file_version == "brain.Event:2"
        for event in events:
            if event.session_log.status == SessionLog.START:
                for known in (*numbers.values(), *texts.values()):
                    for step in [step for step in known if step >= event.step]:
                        del known[step]
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "text":
                    (text,) = value.tensor.string_val
                    known, shown = texts.setdefault(value.tag, {}), text.decode()
                else:
                    known, shown = numbers.setdefault(value.tag, {}), value.simple_value
                assert event.step not in known, "told twice, and TensorBoard would show both"
                known[event.step] = shown
    return numbers, texts


def follow(run, resume=False):
    return [*recorded(train(run, resume), run.path)]


@pytest.fixture
def config(tmp_path):
    return config_of(write_text(tmp_path))


def test_the_files_hold_losses_rates_and_samples(tmp_path, config):
    run = new_run(tmp_path / "run", config)
    follow(run)
    numbers, texts = read(run.path)
    assert LOSSES | {"learning_rate"} <= numbers.keys()
    lines = {line.step: line for line in run.metrics()}
    validation = {
        s: nats for s, line in lines.items() if (nats := line.validation_loss) is not None
    }
    assert numbers["nats_per_character/validation"] == pytest.approx(validation)
    bits = {step: nats / LN2 for step, nats in validation.items()}
    assert numbers["bits_per_character/validation"] == pytest.approx(bits)
    assert numbers["learning_rate"][STEPS] == pytest.approx(lines[STEPS].rate)
    samples = {
        int(path.stem): path.read_text() for path in (run.path / "samples").glob("[0-9]*.txt")
    }
    shown = texts["sample/text_summary"]
    assert shown.keys() == samples.keys()
    assert all(text.replace("\n    ", "\n")[4:] == samples[step] for step, text in shown.items())


def test_the_loss_in_training_is_the_mean_of_all_updates(tmp_path, config):
    run = new_run(tmp_path / "run", replace(config, watch=replace(OFTEN, evaluate_every=0)))
    (finished,) = [event for event in follow(run) if isinstance(event, Finished)]
    numbers, _ = read(run.path)
    losses = numbers["nats_per_character/training"]
    assert [*losses][-1] == finished.step
    if len(losses) == 1:  # all in less than a second
        weighted = sum(m.loss * n for m, n in zip(run.metrics(), counts(run), strict=True))
        assert losses[STEPS] == pytest.approx(weighted / STEPS)


def counts(run):
    steps = [0, *(line.step for line in run.metrics())]
    return [after - before for before, after in pairwise(steps)]


def test_nothing_of_the_run_depends_on_it(tmp_path, config):
    plain, beside = (new_run(tmp_path / name, config) for name in ("plain", "beside"))
    events = [[*train(plain)], follow(beside)]
    assert [type(event) for event in events[0] if event_is_told(event)] == [
        type(event) for event in events[1] if event_is_told(event)
    ]
    assert outcome(plain) == outcome(beside)


def event_is_told(event):
    """Whether it comes whatever the clock says."""
    return isinstance(event, Started | Saved | Finished)


def test_a_run_that_goes_on_is_written_on(tmp_path, config):
    whole = new_run(tmp_path / "whole", config)
    follow(whole)
    run = copied(stopped(tmp_path / "stopped", config, 14), tmp_path / "again")
    (run.path / "tensorboard").mkdir()
    late = recorded(train(new_run(tmp_path / "late", config)), run.path)
    for event in late:  # what was written before a power cut, further than the checkpoint
        if getattr(event, "step", 0) >= 20:
            break
    late.close()
    numbers, _ = read(run.path)
    assert max(numbers["nats_per_character/validation"]) == 20
    follow(run, resume=True)
    tags = ("nats_per_character/validation", "bits_per_character/validation")
    (there, shown), (expected, samples) = read(run.path), read(whole.path)
    assert {tag: there[tag] for tag in tags} == {tag: expected[tag] for tag in tags}
    assert shown["sample/text_summary"] == samples["sample/text_summary"]
    assert len([*(run.path / "tensorboard").iterdir()]) == 2


def test_what_a_diverged_run_had_written_is_hidden(tmp_path):
    run = new_run(tmp_path / "run", config_of(write_text(tmp_path)))

    def events():
        yield Started(run, "reference", 1, None, 0, STEPS, ())
        for step in (5, 10):
            yield evaluated(step, step)
        yield Warned(12, "training diverged")
        yield Saved(5, run.path, False)
        yield evaluated(10, 99)

    [*recorded(events(), run.path)]
    numbers, _ = read(run.path)
    assert numbers["nats_per_character/validation"] == {5: 5.0, 10: 99.0}


def evaluated(step, nats):
    from charloom.evaluation import Score
    from charloom.training.events import Evaluated

    return Evaluated(step, Score(float(nats), 9), False)


def test_a_model_that_counts_is_written_too(tmp_path, config):
    run = new_run(tmp_path / "run", replace(config, model=NgramConfig(order=3)))
    follow(run)
    numbers, texts = read(run.path)
    (line,) = run.metrics()
    assert numbers["nats_per_character/validation"] == pytest.approx({1: line.validation})
    assert [*texts["sample/text_summary"]] == [1]


def test_a_disk_that_is_full_stops_nothing(tmp_path, config, monkeypatch):
    run = new_run(tmp_path / "run", config)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard_x.RecordWriter, "flush", full)
    events = follow(run)
    assert len([event for event in events if isinstance(event, Warned)]) == 1
    assert (events[-1].reason, events[-1].step) == ("done", STEPS)


def test_a_place_that_cannot_be_written_to_stops_nothing(tmp_path, config):
    run = new_run(tmp_path / "run", config)
    (run.path / "tensorboard").write_text("in the way")
    events = follow(run)
    assert len([event for event in events if isinstance(event, Warned)]) == 1
    assert events[-1].reason == "done"


SMALL = ["--engine", "reference", "--hidden", "4", "--batch", "2", "--length", "16"]


def run_command(*words):
    done = CliRunner(capture="fd").invoke(charloom, [*map(str, words)])
    assert done.exit_code == 0, done.output


def test_the_commands_write_and_go_on(tmp_path, config):
    out = tmp_path / "out"
    ends = ["--iterations", "6", "--evaluate-every", "2"]
    run_command("train", config.data.sources[0], *SMALL, *ends, "--tensorboard", "--out", out)
    numbers, _ = read(out)
    assert [*numbers["nats_per_character/validation"]] == [2, 4, 6]
    assert b"tensorboard" not in (out / "config.json").read_bytes()
    run = stopped(tmp_path / "run", config, 14)
    run_command("resume", run.path, "--tensorboard")
    assert min(read(run.path)[0]["nats_per_character/validation"]) == 15
    before = [*(run.path / "tensorboard").iterdir()]
    follow(run, resume=True)  # it has ended: nothing is added
    assert [*(run.path / "tensorboard").iterdir()] == before


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        (True, None, True),
        (True, False, False),
        (False, None, False),
        (False, True, True),
    ],
)
def test_resume_goes_on_with_what_is_there(tmp_path, there, asked, expected):
    if there:
        (tmp_path / "tensorboard").mkdir()
    assert recording(tmp_path, asked) is expected


def test_without_tensorboardx_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    source = write_text(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    done = CliRunner().invoke(charloom, ["train", str(source), *SMALL, "--tensorboard"])
    assert done.exit_code == 2
    assert "pip install 'charloom[tensorboard]'" in done.stderr
    assert not (tmp_path / "runs").exists()
    with refused("missing-library"):
        recording(tmp_path, True)
    (tmp_path / "tensorboard").mkdir()
    assert recording(tmp_path, None) is False
    assert "tensorboardX" in capsys.readouterr().err
