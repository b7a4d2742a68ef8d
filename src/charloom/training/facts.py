"""What is known of a run, from its folder: the facts that advice follows from."""

import math
from dataclasses import dataclass, replace

from charloom.config import (
    EnsembleConfig,
    ModelConfig,
    NetworkConfig,
    NgramConfig,
    PretrainedConfig,
    TransformerConfig,
)
from charloom.data.dataset import split_of
from charloom.data.likeness import other_split
from charloom.runs.metrics import Line
from charloom.runs.run import Run
from charloom.training.recipe import MOST_EPOCHS
from charloom.training.trend import Evaluation, best_evaluation, history, middle, turned

APART = 1.1  # times the training loss: the model overfits
ABOUT = 0.9  # of what was asked for, in minutes or epochs: the run is at its end
ROOM = 1.5  # times as many epochs may be read, at least: more time changes something


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the advice on a run follows from. Losses are nats per character.

    `seen` are the evaluations during training; `final` is the best model's loss on the whole
    validation part, `counted` that of an n-gram model. `held_out` is how many characters the
    validation part has, of `characters` in all; None if none were asked for. `otherwise` says what
    to do if that part is unlike the rest of the text; "" if it is not. `repeated` is the share of
    it that is in the training part, too. `finished` is False for a run that can be resumed.

    Of `minutes`, `iterations` and `epochs`, those that are not None end the run; with minutes,
    `epochs` are the most that it may read. `resumed` says that it was given more minutes, and
    `minutes` are all that it has had. It has read the training part `read` times, in `used`
    minutes. `setbacks` are (from step, to step). `larger` is the option that makes the model twice
    as wide, "" if it has none. `order` is that of an n-gram model, 0 for a network. `program` is
    another that trained the model, "" for charloom.
    """

    seen: tuple[Evaluation, ...] = ()
    final: float | None = None
    counted: float | None = None
    characters: int = 0
    held_out: int | None = None
    otherwise: str = ""
    repeated: float = 0.0
    finished: bool = True
    step: int = 0
    minutes: float | None = None
    resumed: bool = False
    used: float = 0.0
    iterations: int | None = None
    epochs: float | None = None
    read: float = 0.0
    rate: float = 0.0
    setbacks: tuple[tuple[int, int], ...] = ()
    fine_tuned: bool = False
    larger: str = ""
    order: int = 0
    program: str = ""

    @property
    def loss(self) -> float | None:
        """The loss of the best model; of the whole validation part, if that was scored."""
        if self.final is not None or not self.seen:
            return self.final
        return best_evaluation(self.seen).validation

    @property
    def used_up(self) -> bool:
        """Whether to read the text more often would memorise it, or is not to be had."""
        if self.minutes is None or self.epochs is None:
            return self.overfits and ROOM * self.read > MOST_EPOCHS
        return ROOM * self.read > self.epochs

    @property
    def overfits(self) -> bool:
        """Whether the validation loss is well above the training loss."""
        return bool(self.seen) and self.seen[-1].validation > APART * self.seen[-1].training

    @property
    def fallen(self) -> float:
        """The share of the validation loss that fell in the second half of training."""
        return 1 - self.seen[-1].validation / middle(self.seen).validation

    @property
    def behind(self) -> float:
        """The share of the loss by which that of an n-gram model is lower; 0 without one."""
        return 1 - self.counted / self.loss if self.counted is not None and self.loss else 0.0


def facts_of(run: Run, finished: bool | None = None) -> Facts:
    """Read the facts on a run from its folder; raises CharloomError if a file is damaged.

    Whether it has `finished` is told by what it has read and how long, if that is not known.
    """
    config, corpus, final = run.config, run.corpus, run.final()
    model, train = config.model, config.train
    parts = split_of(corpus, config)
    lines = run.metrics()
    last = lines[-1] if lines else Line(step=0)
    facts = Facts(
        seen=tuple(history(lines)),
        final=final.score.nats if final and final.held_out else None,
        counted=final.counted.score.nats if final and final.counted else None,
        characters=corpus.characters,
        held_out=_size(parts.validation) if config.data.validation else None,
        otherwise=other_split(config.data, corpus.layout) if run.unlike else "",
        repeated=run.repeated,
        step=last.step,
        minutes=train.minutes,
        resumed=bool(config.extended),
        used=(last.seconds or 0.0) / 60,
        iterations=train.iterations,
        epochs=train.epochs,
        read=(last.characters or 0) / (_size(parts.train) or math.inf),
        rate=train.learning_rate,
        setbacks=tuple(dict.fromkeys((s.at, s.to) for line in lines for s in line.setbacks)),
        fine_tuned=config.start is not None or isinstance(model, PretrainedConfig),
        larger="" if config.start else _larger(model),
        order=model.order if isinstance(model, NgramConfig) else 0,
        program=config.imported or "",
    )
    if finished is None:
        finished = final is not None or _is_at_its_end(facts)
    return replace(facts, finished=finished)


def _is_at_its_end(facts: Facts) -> bool:
    if facts.epochs is not None and facts.read >= ABOUT * facts.epochs:
        return True
    if facts.minutes is None:
        return facts.step >= (facts.iterations or math.inf)
    return facts.used >= ABOUT * facts.minutes or turned(facts.seen)


def _size(part: slice | None) -> int:
    return 0 if part is None else part.stop - part.start


def _larger(model: NetworkConfig | NgramConfig) -> str:
    match model:
        case EnsembleConfig():
            return _larger(model.network)
        case ModelConfig():
            return f"--hidden {2 * model.hidden}"
        case TransformerConfig():
            return f"--width {2 * model.width}"
        case _:
            return ""
