"""The historic models on one core: the compiled engine against the reference.

Updates on the Constitution and sampling, one lane, 100 hidden units, one thread; the reference
in float64, the compiled engine in float32.
"""

from charloom.config import ModelConfig
from charloom.data.known_texts import load_corpus
from charloom.data.vocabulary import Vocabulary
from charloom.presets import preset
from charloom.training.replay import PUBLISHED, measure_speed
from common import (
    Options,
    Row,
    by_rate,
    by_time,
    fresh_model,
    print_rows,
    rates,
    taking_turns,
    use_threads,
    writer,
)

COMPILED, REFERENCE = 30_000, 2_000  # characters a turn: some 0.1 seconds each
OTHER = "reference, float64"


def show(options: Options) -> None:
    use_threads(1)
    names = sorted(PUBLISHED)
    rows = [update_row(name, options.turns) for name in names]
    rows += [sampling_row(name, options) for name in names]
    print_rows(f"historic: 100 units, one lane, 1 thread, {options.turns} turns", rows)


def update_row(name: str, turns: int) -> Row:
    speed = measure_speed(name, turns)
    return by_time(f"{name}, µs an update", speed.compiled, OTHER, speed.reference)


def sampling_row(name: str, options: Options) -> Row:
    vocabulary = Vocabulary.from_text(load_corpus("us-constitution"))
    config = preset(name).model
    assert isinstance(config, ModelConfig)
    lengths = [n // 20 if options.tiny else n for n in (COMPILED, REFERENCE)]
    models = [fresh_model(config, vocabulary, engine) for engine in ("compiled", "reference")]
    seconds = taking_turns(list(map(writer, models, lengths)), options.turns)
    ours, theirs = map(rates, lengths, seconds)
    return by_rate(f"{name}, characters/s sampled", ours, OTHER, theirs)
