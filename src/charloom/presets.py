"""The historic programs by name, as data."""

import msgspec

from charloom.config import (
    ModelConfig,
    NgramConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
    WatchConfig,
    replace,
)
from charloom.errors import CharloomError


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the lineage; `config` is what a run by that name starts from.

    `source` is the program, its author and the year. `kept` says what is exactly as it was
    there, `differs` what is not.
    """

    name: str
    title: str
    source: str
    config: RunConfig
    kept: str
    differs: str


_RNN = ModelConfig(cell="rnn", hidden=100, init_std=0.01)
_LSTM = replace(_RNN, cell="lstm", forget_bias=0.0)
_TRAIN = TrainConfig(
    batch=1,
    length=25,
    optimizer="adagrad",
    learning_rate=0.1,
    reduction="sum",
    clip_value=5.0,
)
_DIFFERS = (
    "The last 10% of the text is held out (all of it is learned with --validation 0), the run "
    "comes to an end and can be repeated (--seed), arithmetic is float32, samples are fewer."
)

_ALL = (
    Preset(
        name="min-char-rnn",
        title="the vanilla recurrent network that began the line",
        source="min-char-rnn.py, Andrej Karpathy, 2015",
        config=RunConfig(model=_RNN, train=_TRAIN, preset="min-char-rnn"),
        kept=(
            "A tanh layer of 100, one-hot characters in one lane, 25 a step. Weights are drawn "
            "from N(0, 0.01^2), biases are 0. Adagrad at 0.1; the gradient is that of the loss "
            "summed over the step, each value clipped to +-5. The state is carried from step to "
            "step, and is 0 wherever the text begins again."
        ),
        differs=_DIFFERS,
    ),
    Preset(
        name="min-char-lstm",
        title="the same with an LSTM, which remembers longer",
        source="min-char-lstm.py, Eli Bendersky, 2018",
        config=RunConfig(model=_LSTM, train=replace(_TRAIN, length=16), preset="min-char-lstm"),
        kept=(
            "All of min-char-rnn but the cell, an LSTM of 100 whose biases are 0, the forget "
            "gate's too, and the step, 16 characters."
        ),
        differs=_DIFFERS,
    ),
    Preset(
        name="min-char-lstm-mod-2",
        title="the same, with a rate that falls when the loss swings, and greedy samples",
        source="a later modification of min-char-lstm.py, for texts named on the command line",
        config=RunConfig(
            model=_LSTM,
            train=replace(
                _TRAIN,
                length=16,
                learning_rate=0.2,
                schedule="plateau",
                decay_factor=0.7,
                window=10_000,
                patience=2,
                final_rate=0.25,
            ),
            watch=WatchConfig(
                sample_at_best=True,
                sample_below=0.5,
                write_below=0.4,
                sample=SampleConfig(temperature=0.0, seed=0),
            ),
            preset="min-char-lstm-mod-2",
        ),
        kept=(
            "All of min-char-lstm but the rate, which starts higher and is trimmed. No sample is "
            "shown until the smoothed loss is low enough, then one at each new best; below "
            "another share of the loss at the start, samples are also appended to a file, with "
            "the time. Each character is the likeliest (temperature 0)."
        ),
        differs=(
            "The program left its numbers to its user. Here the rate starts at 0.2 and falls by "
            "30%, to a quarter at the least, when twice 10,000 steps bring no lower mean loss; "
            "samples begin at half the first loss, and the file at 0.4 of it. " + _DIFFERS
        ),
    ),
    Preset(
        name="markov",
        title="no network: a Markov chain of order 4",
        source="markov-model.py, Eli Bendersky, 2018",
        config=RunConfig(model=NgramConfig(order=5, smoothing="none"), preset="markov"),
        kept=(
            "The next character is drawn by how often it followed the 4 before it (with the next, "
            "an n-gram of 5), without smoothing."
        ),
        differs=(
            "The last 10% of the text is held out, where one character that the chain never saw in "
            "its place makes the loss infinite. Where 4 characters were never followed by any, the "
            "last 3 decide."
        ),
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def preset(name: str) -> RunConfig:
    """Return the settings of the program of that name; raises CharloomError where it is unknown."""
    if name not in PRESETS:
        raise CharloomError(f"there is no preset {name!r}: the known ones are {', '.join(PRESETS)}")
    return PRESETS[name].config
