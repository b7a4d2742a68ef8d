"""Options made from the fields of the settings in config.py, and settings from what was given."""

import types
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import click
import msgspec
from click.core import ParameterSource

from charloom.config import ModelConfig, NgramConfig, RunConfig, TrainConfig, replace
from charloom.errors import CharloomError

F = TypeVar("F", bound=Callable[..., Any])

# What a stranger's text gets: see docs/LOG.md, "What a stranger's text gets".
DEFAULT = RunConfig(
    model=ModelConfig(cell="lstm", layers=2, hidden=128, embedding=32),
    train=TrainConfig(
        batch=32,
        length=64,
        optimizer="adamw",
        learning_rate=0.01,
        weight_decay=0.1,
        clip_norm=1.0,
        dropout=0.5,
        schedule="cosine",
        warmup=100,
    ),
)


class Section(NamedTuple):
    """Options under one heading: fields of the settings `defaults`, with a line of help each.

    `unset` is the word for None, in a field that may be None.
    """

    title: str
    defaults: msgspec.Struct
    help: dict[str, str]
    unset: str = "none"


class _Option(click.Option):
    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class SectionedCommand(click.Command):
    """A command whose help shows its options under the headings of their sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each heading in the order in which they were declared."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                headings.setdefault(getattr(param, "heading", "Other"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class _OrWord(click.ParamType[Any]):
    """A value of another type, or the word that stands for None."""

    def __init__(self, inner: click.ParamType[Any], word: str) -> None:
        self.inner = inner
        self.word = word
        self.name = f"{inner.name}|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value == self.word else self.inner.convert(value, param, ctx)


def option(heading: str, *names: str, **attributes: Any) -> Callable[[F], F]:
    """Return a decorator for an option written by hand, under `heading`."""
    return click.option(*names, cls=_Option, heading=heading, **attributes)


def options(section: Section) -> Callable[[F], F]:
    """Return a decorator that adds the options of a section.

    They have no default: what is not given is left to the settings that `changed` starts from.
    """
    hints = get_type_hints(type(section.defaults))

    def decorate(function: F) -> F:
        for field in reversed(section.help):
            function = _option_for(field, hints[field], section)(function)
        return function

    return decorate


def _option_for(field: str, hint: Any, section: Section) -> Callable[[F], F]:
    flag = f"--{field.replace('_', '-')}"
    default = getattr(section.defaults, field)
    if hint is bool:
        names, shown, kind = f"{flag}/--no-{flag[2:]}", "yes" if default else "no", None
    else:
        names, shown = flag, section.unset if default is None else f"{default}"
        kind = _parameter_type(hint, section.unset)
    text = f"{section.help[field]}  [{shown}]"
    return option(section.title, names, default=None, type=kind, help=text)


def _parameter_type(hint: Any, unset: str) -> click.ParamType[Any]:
    if get_origin(hint) is types.UnionType:
        inner, _none = get_args(hint)
        return _OrWord(_parameter_type(inner, unset), unset)
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    return click.INT if hint is int else click.FLOAT


def given(context: click.Context) -> dict[str, Any]:
    """Return the parameters that stand on the command line: None there means unset."""
    source = context.get_parameter_source
    return {n: v for n, v in context.params.items() if source(n) is ParameterSource.COMMANDLINE}


def changed(config: Any, values: dict[str, Any]) -> Any:
    """Return settings with those of `values` that are among its fields."""
    known = {name: values[name] for name in config.__struct_fields__ if name in values}
    return replace(config, **known)


def changed_model(
    model: ModelConfig | NgramConfig, kind: str | None, values: dict[str, Any]
) -> ModelConfig | NgramConfig:
    """Return the model's settings with `values`, of another `kind` where one is given.

    Raises CharloomError where a value belongs to a model of another kind.
    """
    if kind == "ngram" and isinstance(model, ModelConfig):
        model = NgramConfig()
    elif kind not in (None, "ngram"):
        model = replace(model if isinstance(model, ModelConfig) else DEFAULT.model, cell=kind)
    other = NgramConfig if isinstance(model, ModelConfig) else ModelConfig
    for name in other.__struct_fields__:
        if name in values:
            kinds = "ngram" if other is NgramConfig else "rnn, lstm or gru"
            raise CharloomError(f"--{name.replace('_', '-')} is for --model {kinds}: leave it out")
    changed_config: ModelConfig | NgramConfig = changed(model, values)
    return changed_config
