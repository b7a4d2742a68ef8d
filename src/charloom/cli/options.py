"""Options made from the fields of settings, under headings."""

import types
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import click
import msgspec
from click.core import ParameterSource

from charloom.config import AUTO, DataConfig

F = TypeVar("F", bound=Callable[..., Any])

_LETTER = {int: "N", float: "X", str: "NAME"}  # for a value of that type, in the help
_LISTED = {"include": "GLOB", "exclude": "GLOB", "columns": "NAME"}  # for one of several values
MIN_COUNT = {"min_count": "Characters that occur fewer than N times become U+FFFD."}
_SHORT = {"learning_rate": ("--lr",), "temperature": ("--temp", "-t")}


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
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                headings.setdefault(getattr(param, "heading", "Other"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def examples(*lines: str) -> str:
    """Return what a command's help ends with: lines that can be typed as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def _number_or(word: str, number: type[int] | type[float]) -> Callable[[str], float | None]:
    """Return what reads a number, or the word that stands for None."""

    def read(text: str) -> float | None:
        try:
            return None if text == word else number(text)
        except ValueError:
            kind = "a whole number" if number is int else "a number"
            raise click.BadParameter(f"{text!r} is neither {kind} nor the word {word}.") from None

    return read


class OutputFile(click.ParamType):  # type: ignore[type-arg]
    """A file that a command writes: refused at once if that cannot be done."""

    name = "file"

    def convert(self, value: Any, *_: Any) -> Path:
        """Return its path; raises CharloomError."""
        from charloom.files import check_output

        path = Path(value)
        check_output(path)
        return path


def output(name: str, text: str, default: str = "", required: bool = False) -> Callable[[F], F]:
    """Return a decorator for an option that names a file to write; `default` is a free name."""
    shown = f"  [{default}]" if default else ""
    names = ("--out", "-o") if name == "--out" else (name,)
    text = f"{text}, replaced if it exists.{shown}"
    return click.option(*names, type=OutputFile(), required=required, help=text)


def option(heading: str, *names: str, **attributes: Any) -> Callable[[F], F]:
    """Return a decorator for an option written by hand, under `heading`."""
    return click.option(*names, cls=_Option, heading=heading, **attributes)


def options(
    heading: str,
    defaults: msgspec.Struct,
    texts: dict[str, str],
    chosen: Collection[str] = (),
) -> Callable[[F], F]:
    """Return a decorator that adds an option for each field of the settings `defaults` in `texts`.

    `texts` are their lines of help, and the fields in `chosen` are chosen for each text, so that
    the help shows no default. What is not on the command line is left to the settings.
    """
    hints = get_type_hints(type(defaults))

    def decorate(function: F) -> F:
        for field, text in reversed(texts.items()):
            name, default, hint = field.replace("_", "-"), getattr(defaults, field), hints[field]
            unset = "auto" if field in AUTO else "none"
            shown = "chosen" if field in chosen else _shown(default, unset)
            attributes: dict[str, Any] = {"default": None, "help": f"{text}  [{shown}]"}
            flags = [f"--{name}", *_SHORT.get(field, ())]
            if hint is bool:
                flags = [f"--{name}/--no-{name}"]
            elif get_origin(hint) is tuple:  # each is given by itself: --column for columns
                flags = [f"--{name.removesuffix('s')}", field]
                attributes |= {"multiple": True, "metavar": _LISTED[field], "help": text}
            else:
                attributes["type"], attributes["metavar"] = _parameter_type(hint, unset)
            function = option(heading, *flags, **attributes)(function)
        return function

    return decorate


def reading(heading: str) -> Callable[[F], F]:
    """Return a decorator for the options that say which files are read, how, and as what."""
    return options(
        heading,
        DataConfig(),
        {
            "encoding": "Encoding of the text: cp1252, gb18030, utf-16 or another; detect: "
            "UTF-8, or what each file looks like.",
            "errors": "strict, or replace: read U+FFFD where the text is not in that encoding.",
            "normalize": "NFC or NFKC: put the text into that form of Unicode; none: as it is.",
            "include": "Read only such files of folders and archives, as in .gitignore; "
            "repeatable.",
            "exclude": "Leave out such files or folders; repeatable.",
            "columns": "For tables: a column with the text; repeatable.",
            "keep_front_matter": "For Markdown: keep the front matter above the text.",
            "pages": "For blogs: read pages, not only posts.",
            "labels": "Put title, author and date before each document.",
            "allow_private": "Read sites on this machine and its network, too.",
            "dedupe": "Leave out documents that equal one before them, or nearly do.",
            "drop_boilerplate": "Leave out lines that stand in many documents.",
            "fix_mojibake": "Mend UTF-8 that was once read as something else: Ã¶ is ö.",
            "plain": "Read HTML, tables, chats ... as they are, not the text in them.",
        },
    )


def _shown(default: Any, unset: str) -> str:
    if default is None:
        return unset
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else f"{default}"


def _parameter_type(hint: Any, unset: str) -> tuple[Any, str]:
    """Return what reads the value of an option, and what stands for it in the help."""
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint)), "NAME"
    if get_origin(hint) in (types.UnionType, Union):
        number, _none = get_args(hint)
        return _number_or(unset, number), f"{_LETTER[number]}|{unset}"
    return hint, _LETTER[hint]


def given(context: click.Context) -> dict[str, Any]:
    """Return the parameters that stand on the command line: None there means unset."""
    source = context.get_parameter_source
    return {n: v for n, v in context.params.items() if source(n) is ParameterSource.COMMANDLINE}
