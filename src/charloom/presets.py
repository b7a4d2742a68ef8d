"""The historic programs by name, as data."""

import msgspec

from charloom.config import (
    DataConfig,
    ModelConfig,
    NgramConfig,
    PretrainedConfig,
    RunConfig,
    SampleConfig,
    TrainConfig,
    TransformerConfig,
    WatchConfig,
    replace,
)
from charloom.errors import CharloomError


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the lineage; `config` is what a run by that name starts from.

    `source` is the program, its author and the year. `kept` says what is the same as in the
    program, `differs` what is not.
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
    "The last 10% of the text is for validation (none with --validation 0), the run ends and is "
    "repeatable (--seed), arithmetic is float32, and there are fewer samples."
)

_TORCH_RNN = RunConfig(
    model=ModelConfig(layers=2, hidden=128, embedding=64),
    data=DataConfig(validation=0.1, test=0.1),
    train=TrainConfig(
        batch=50,
        length=50,
        epochs=50,
        optimizer="adam",
        learning_rate=0.002,
        clip_value=5.0,
        schedule="step",
        decay_factor=0.5,
        decay_every=5,
    ),
    preset="torch-rnn",
)
_TORCH_RNN_DIFFERS = (
    "Initial weights are N(0, 1/fan-in); in torch-rnn the fan-in of a layer is that of both its "
    "products together, and the head's distribution is uniform."
)
_NANOGPT = RunConfig(
    model=TransformerConfig(layers=6, heads=6, width=384, context=256, positions="learned"),
    train=TrainConfig(
        batches="windows",
        batch=64,
        length=256,
        iterations=5000,
        optimizer="adamw",
        learning_rate=0.001,
        beta2=0.99,
        weight_decay=0.1,
        clip_norm=1.0,
        schedule="cosine",
        final_rate=0.1,
        warmup=100,
        dropout=0.2,
    ),
    preset="nanogpt-char",
)
_NANOGPT_CPU = replace(
    _NANOGPT,
    model=TransformerConfig(layers=4, heads=4, width=128, context=64, positions="learned"),
    train=replace(_NANOGPT.train, batch=12, length=64, iterations=2000, dropout=0.0),
    preset="nanogpt-char-cpu",
)
_NANOGPT_KEPT = (
    "GPT-2's blocks without biases, learned positions, the embedding as the head. Windows from "
    "anywhere in the text. AdamW at 1e-3 (betas 0.9 and 0.99, weight decay 0.1 of matrices), 100 "
    "steps of warm-up, a cosine schedule down to a tenth, gradient norm clipped to 1. The last 10% "
    "of the text is for validation."
)
_NANOGPT_DIFFERS = (
    "The validation loss is that of all the validation part, each character given half a window to "
    "a whole one before it; in nanoGPT it is that of random windows from their first character."
)

_ALL = (
    Preset(
        name="min-char-rnn",
        title="the vanilla recurrent network that began the line",
        source="min-char-rnn.py, Andrej Karpathy, 2015",
        config=RunConfig(model=_RNN, train=_TRAIN, preset="min-char-rnn"),
        kept=(
            "A tanh layer of 100 units over one-hot characters, batch size 1, sequence length 25. "
            "Initial weights are N(0, 0.01^2), biases 0. Adagrad at 0.1; the gradient is that of "
            "the loss summed over the step, each element clipped to +-5. The state is carried from "
            "step to step, and is 0 whenever the text begins again."
        ),
        differs=_DIFFERS,
    ),
    Preset(
        name="min-char-lstm",
        title="the same with an LSTM, which remembers longer",
        source="min-char-lstm.py, Eli Bendersky, 2018",
        config=RunConfig(model=_LSTM, train=replace(_TRAIN, length=16), preset="min-char-lstm"),
        kept=(
            "As min-char-rnn, but with an LSTM of 100 units, whose biases are 0, the forget gate's "
            "too, and sequence length 16."
        ),
        differs=_DIFFERS,
    ),
    Preset(
        name="min-char-lstm-mod-2",
        title="the same, with a learning rate that falls on a plateau, and greedy samples",
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
            "As min-char-lstm, but with a learning rate that starts higher and is cut. No sample "
            "is shown until the smoothed loss is low enough, then one at each new lowest; below "
            "another share of the initial loss, samples are also appended to a file, with the "
            "time. Each character is the most likely one (temperature 0)."
        ),
        differs=(
            "The program left these settings to its user. Here the learning rate starts at 0.2 and "
            "is cut by 30%, down to a quarter, if twice 10,000 steps bring no lower mean loss; "
            "samples begin at half the initial loss, the file at 0.4 of it. " + _DIFFERS
        ),
    ),
    Preset(
        name="markov",
        title="no network: a Markov chain of order 4",
        source="markov-model.py, Eli Bendersky, 2018",
        config=RunConfig(model=NgramConfig(order=5, smoothing="none"), preset="markov"),
        kept=(
            "The next character is drawn by how often it followed the 4 before it, without "
            "smoothing: n-grams of order 5."
        ),
        differs=(
            "The last 10% of the text is for validation; a single character there that never "
            "followed its 4 in training makes the loss infinite. If 4 characters were never "
            "followed by any, the last 3 decide."
        ),
    ),
    Preset(
        name="char-rnn",
        title='the program of "The Unreasonable Effectiveness of Recurrent Neural Networks"',
        source="char-rnn, Andrej Karpathy, 2015 (Lua Torch)",
        config=RunConfig(
            model=ModelConfig(layers=2, hidden=128, init_std=0.0462),
            data=DataConfig(validation=0.05),
            train=TrainConfig(
                batch=50,
                length=50,
                epochs=50,
                optimizer="rmsprop",
                learning_rate=0.002,
                decay=0.95,
                clip_value=5.0,
                schedule="step",
                decay_factor=0.97,
                decay_every=1,
                decay_after=10,
            ),
            preset="char-rnn",
        ),
        kept=(
            "An LSTM (--model gru or rnn, as there) of 2 layers of 128 units over one-hot "
            "characters, batch size 50, sequence length 50, 50 epochs. RMSProp at 0.002, decay "
            "0.95, times 0.97 after each epoch from the 10th on; each element of the gradient of "
            "the mean is clipped to +-5. The forget gate's bias starts at 1. 5% of the text is for "
            "validation."
        ),
        differs=(
            "Initial weights are normal, with the standard deviation of its uniform +-0.08; biases "
            "start at 0. Characters are Unicode's; in char-rnn they are bytes. --dropout drops the "
            "same units all through a step; char-rnn draws them for each character."
        ),
    ),
    Preset(
        name="torch-rnn",
        title="the same in less time and memory, with an embedding",
        source="torch-rnn, Justin Johnson, 2016 (Lua Torch)",
        config=_TORCH_RNN,
        kept=(
            "An LSTM (or --model rnn) of 2 layers of 128 units over an embedding of 64, batch size "
            "50, sequence length 50, 50 epochs. Adam at 0.002, halved every 5 epochs; each element "
            "of the gradient is clipped to +-5. Split 80/10/10."
        ),
        differs=_TORCH_RNN_DIFFERS,
    ),
    Preset(
        name="torch-rnn-1024",
        title="torch-rnn at a size for a GPU",
        source="torch-rnn with -rnn_size 1024",
        config=replace(
            _TORCH_RNN,
            model=replace(_TORCH_RNN.model, hidden=1024),
            preset="torch-rnn-1024",
        ),
        kept="As torch-rnn, but with hidden size 1024.",
        differs=_TORCH_RNN_DIFFERS,
    ),
    Preset(
        name="rnn-text-generation-tensorflow",
        title="windows from anywhere in the text, each with a zero state",
        source="RNN_Text_Generation_Tensorflow, Giacomo Spigler, 2016",
        config=RunConfig(
            model=ModelConfig(layers=2, hidden=256),
            train=TrainConfig(
                batches="windows",
                batch=64,
                length=100,
                iterations=20_000,
                optimizer="rmsprop",
                learning_rate=0.003,
                decay=0.9,
            ),
            preset="rnn-text-generation-tensorflow",
        ),
        kept=(
            "An LSTM of 2 layers of 256 units over one-hot characters. 20,000 steps of 64 windows "
            "of 100 characters, each with a zero state. RMSProp at 0.003, decay 0.9; no clipping."
        ),
        differs=(
            "Capitals stay; there the text is lower-cased. The last 10% of the text is for "
            "validation; there nothing is. Initial weights are N(0, 1/fan-in)."
        ),
    ),
    Preset(
        name="nanogpt-char",
        title="a small transformer, for a GPU",
        source="nanoGPT, config/train_shakespeare_char.py, Andrej Karpathy, 2022",
        config=_NANOGPT,
        kept="6 layers, 6 heads, width 384, context 256, dropout 0.2, 64 windows, 5,000 steps. "
        + _NANOGPT_KEPT,
        differs=_NANOGPT_DIFFERS,
    ),
    Preset(
        name="nanogpt-char-cpu",
        title="the same in the size that its author recommends for a CPU",
        source="nanoGPT, README: the settings for a laptop",
        config=_NANOGPT_CPU,
        kept="4 layers, 4 heads, width 128, context 64, no dropout, 12 windows, 2,000 steps. "
        + _NANOGPT_KEPT,
        differs=_NANOGPT_DIFFERS,
    ),
    Preset(
        name="gpt2",
        title="fine-tunes GPT-2, or another causal language model in a folder: --from FOLDER",
        source="GPT-2, Radford et al., 2019; the folder is in Hugging Face's format",
        config=RunConfig(
            model=PretrainedConfig(source="", architecture={}, shapes={}, sha256="", context=1024),
            train=TrainConfig(
                batches="windows",
                batch=4,
                length=128,
                optimizer="adamw",
                learning_rate=5e-5,
                clip_norm=1.0,
            ),
            preset="gpt2",
        ),
        kept=(
            "Model, weights and tokenizer are those of the folder; it reads tokens, not characters."
        ),
        differs=(
            "Losses are per character, to compare with other models. Fine-tuning is charloom's "
            "own: AdamW at 5e-5 on windows of 128 tokens; with --lora, of adapters only, at ten "
            "times that learning rate."
        ),
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}


def preset(name: str) -> RunConfig:
    """Return the settings of the program of that name; raises CharloomError if it is unknown."""
    if name not in PRESETS:
        raise CharloomError(
            f"there is no preset {name!r}: the known ones are {', '.join(PRESETS)}",
            "bad-setting",
            field="preset",
        )
    return PRESETS[name].config
