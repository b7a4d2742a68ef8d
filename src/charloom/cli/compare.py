"""`charloom compare`: runs of any kind and simple baselines on one text."""

from collections.abc import Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from charloom.cli.options import SectionedCommand, examples, given, option, reading
from charloom.cli.text import (
    echo,
    echo_json,
    echo_styled,
    fill,
    progress,
    table,
)
from charloom.errors import CharloomError, install
from charloom.formatting import duration, nats_and_bits, printable

if TYPE_CHECKING:
    from charloom.analysis.comparison import Comparison, Entry, Unread
    from charloom.progress import Tell
    from charloom.training.each_kind import Series

STATIC = "Static: weights and counts stay as the training text left them."
LEARNING = (
    "Learning while reading: each character is scored first, then learned. These figures and "
    "those above do not compare."
)
LEGEND = (
    "gzip looks back over 32 KB only",
    "chars/s: characters generated per second on this machine, the median of five turns",
)
HEADER = ("run", "model", "nats", "bits", "perplexity", "parameters", "trained", "chars/s")


@click.command(
    cls=SectionedCommand,
    epilog=examples(
        "charloom compare runs/gru runs/ngram", "charloom compare novel.txt --budget 1"
    ),
)
@click.argument("names", nargs=-1, required=True, metavar="RUN... | FILE...")
@option(
    "Comparison",
    "--text",
    metavar="FILE",
    help="Compare on this text, not on the runs' own.",
)
@option(
    "Comparison",
    "--budget",
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="First train one model of each kind on FILE: an n-gram model, and for so many minutes "
    "EACH an rnn, lstm, gru and, with PyTorch, transformer.",
)
@option(
    "Comparison",
    "--adapt",
    is_flag=True,
    help="Let recurrent networks go on learning, too, and put them beside zpaq, if it is "
    "installed: 100,000 characters take some 10 s for each run, and zpaq takes 10 s for a "
    "megabyte that was learned.",
)
@option("Comparison", "--json", "as_json", is_flag=True, help="Print one JSON document.")
@reading("FILE, with --budget")
@click.pass_context
def compare(
    context: click.Context,
    /,
    names: tuple[str, ...],
    text: str | None,
    budget: float | None,
    adapt: bool,
    as_json: bool,
    **_options: Any,
) -> None:
    """Compare runs and simple baselines on one text.

    The text is the validation part of the runs' text, which must be the same for all, or --text
    (a file, a folder, - for standard input, or corpus:NAME). RUN can also be a folder with a
    causal language model in Hugging Face's format. With --budget, give a FILE to train on.

    Lower is better. The baselines need no training: all characters equally likely (uniform), the
    frequency of each (unigram), and counts of 1 to 8 characters in a row (n-gram).

    Others go on learning while they read, each character after it is scored: what `charloom
    compress` predicts with (context mixing), and how much the text adds to the training text when
    both are compressed (gzip, bz2, xz, and PPMd if pyppmd is installed). They stand apart, and
    --adapt puts runs of recurrent networks there, too.
    """
    read_so = {name: value for name, value in given(context).items() if name in _options}
    if read_so and budget is None:
        message = "how a text is read can be chosen only with --budget: leave those options out"
        raise CharloomError(message, "bad-setting", field=min(read_so))
    left_out: list[Unread] = []
    with progress() as (write, tell):
        if budget is not None:
            series = _plan(names, budget, read_so, write, tell)
            names, left_out, status = _train_all(series, write, tell)
            if status:
                context.exit(status)
            write("")
        comparison = _compare(names, text, adapt, tell)
    if as_json:
        _echo_json(comparison, left_out)
    else:
        _show(comparison, left_out)


def _compare(names: Sequence[str], text: str | None, adapt: bool, tell: "Tell") -> "Comparison":
    from charloom.analysis.comparison import compare as library
    from charloom.data.reading import Reading
    from charloom.data.text import read_text
    from charloom.runs.open import open_run
    from charloom.runs.run import Run

    for name in names:
        if not Path(name).is_dir():
            message = (
                f"{name} is not a run: name one that `charloom runs` lists, or give "
                "--budget MINUTES to train on a text"
            )
            raise CharloomError(message, "not-found", path=name)
    unique = dict.fromkeys(map(Path, names))
    opened = [open_run(path) or path for path in unique]
    reading = Reading.like([run.config.data for run in opened if isinstance(run, Run)])
    chosen = None if text is None else read_text([text], tell, reading)
    return library(opened, chosen, tell, adapt=adapt)


def _plan(
    sources: Sequence[str], minutes: float, given: Mapping[str, Any], write: "Tell", tell: "Tell"
) -> "Series":
    """Plan to train one of each kind, and say what that will take."""
    from charloom.training.each_kind import plan_each_kind

    series = plan_each_kind(sources, minutes, given, tell)
    if "transformer" not in series.kinds:
        write(f"no transformer: it needs PyTorch, {install('torch')}")
    write(
        f"training a model of each kind on {series.text.name}, {minutes:g} minute"
        f"{'' if minutes == 1 else 's'} for each network:\n"
        f"about {duration(60 * minutes * (len(series.kinds) - 1))} in all, in {series.home}\n"
    )
    return series


def _train_all(
    series: "Series", write: "Tell", tell: "Tell"
) -> "tuple[tuple[str, ...], list[Unread], int]":
    """Train one of each kind.

    Return the folders of the runs, the kinds without one, and the exit status if a signal came.
    Raises CharloomError if none of them can be trained.
    """
    from charloom.analysis.comparison import Unread
    from charloom.training.each_kind import LeftOut, train_each_kind
    from charloom.training.events import Evaluated, Finished, Progress, Warned

    paths: list[str] = []
    left_out: list[Unread] = []
    errors: list[CharloomError] = []
    spent = loss = ""
    ready = f"`charloom compare {series.home}/*` compares what is there"
    try:
        for kind, event in train_each_kind(series, tell):
            match event:
                case Evaluated():
                    loss = nats_and_bits(event.score.nats)
                case Progress():
                    spent = duration(event.seconds)
                case Warned():
                    write(f"{kind:12} note: {event.text}")
                case LeftOut():
                    write(f"{kind:12} left out: {event.error}")
                    left_out.append(Unread(str(event.path), kind, str(event.error)))
                    errors.append(event.error)
                case Finished():
                    paths.append(str(event.path))
                    if event.final is not None:
                        loss = nats_and_bits(event.final.score.nats)
                    loss = f", validation loss {loss}" if loss else ""
                    write(f"{kind:12} {duration(event.seconds)}{loss}")
                    if event.signal is not None:
                        write(f"interrupted: `charloom resume {event.path}` continues it; {ready}")
                        return tuple(paths), left_out, 128 + event.signal
                    spent = loss = ""
            tell(f"{kind}: " + ", ".join(filter(None, (spent, loss))))
    except (KeyboardInterrupt, SystemExit):  # between two runs: in training, an event says it
        write(f"interrupted: {ready}" if paths else "interrupted before anything was trained")
        raise
    if not paths:
        raise errors[0]
    return tuple(paths), left_out, 0


def _echo_json(comparison: "Comparison", left_out: "list[Unread]") -> None:
    from charloom.analysis.comparison import verdict

    names = "name kind model nats bits perplexity parameters seconds speed seen learns"
    rows = [{name: getattr(e, name) for name in names.split()} for e in comparison.entries]
    echo_json(
        {
            "text": comparison.text,
            "part": comparison.part,
            "characters": comparison.characters,
            "entries": rows,
            "unread": [unread._asdict() for unread in (*comparison.unread, *left_out)],
            "notes": comparison.notes,
            "verdict": verdict(comparison),
        }
    )


def _show(comparison: "Comparison", left_out: "list[Unread]") -> None:
    from charloom.analysis.comparison import verdict

    home = _home(comparison)
    without = (*comparison.unread, *left_out)
    unread = [(_short(unread.name, home), unread.model, *[""] * 6) for unread in without]
    part = f", the {comparison.part} part" if comparison.part else ""
    about = [f"text  {printable(comparison.text)}: {comparison.characters:,} characters{part}"]
    about += [f"runs  in {home}"] if home else []
    about = [fill(line, hanging=6) for line in about]
    echo("\n".join(about) + "\n")
    _show_group(STATIC, comparison.static, home, unread)
    _show_group(LEARNING, comparison.learning, home, columns=5)
    echo(fill(verdict(comparison)))
    notes = [f"{u.name} cannot read the text: {u.why}" for u in comparison.unread]
    notes += [f"{u.name} could not be trained: {u.why}" for u in left_out]
    if any(entry.nats == float("inf") for entry in comparison.entries):
        notes.append("inf: the model rules out a character that occurs in the text")
    for note in (*notes, *comparison.notes, *LEGEND):
        echo(fill(f"note  {note}", hanging=6))


def _show_group(
    title: str,
    entries: "Sequence[Entry]",
    home: str,
    unread: Sequence[tuple[str, ...]] = (),
    columns: int = len(HEADER),
) -> None:
    """Print the first columns of a table of entries that compare, unless there are none."""
    if not entries:
        return
    rows = [row[:columns] for row in (*(_row(entry, home) for entry in entries), *unread)]
    dim = [i for i, entry in enumerate(entries) if entry.kind == "baseline"]
    echo(fill(title))
    echo_styled(Text.from_ansi(table(HEADER[:columns], rows, 2, dim)))
    echo()


def _row(entry: "Entry", home: str) -> tuple[str, ...]:
    def shown(number: float | None) -> str:
        return "" if number is None else f"{number:,.0f}"

    return (
        _short(entry.name, home) + ("" if entry.is_fair else " *"),
        entry.model or entry.kind,
        f"{entry.nats:.3f}",
        f"{entry.bits:.3f}",
        f"{entry.perplexity:.2f}",
        shown(entry.parameters),
        "" if entry.seconds is None else duration(entry.seconds),
        shown(entry.speed and float(f"{entry.speed:.3g}")),
    )


def _home(comparison: "Comparison") -> str:
    """Return the folder of all runs, empty if there is no common one."""
    names = [entry.name for entry in comparison.entries if entry.kind == "run"]
    names += [unread.name for unread in comparison.unread]
    try:
        home = commonpath([str(Path(name).parent) for name in names])
    except ValueError:  # some are absolute, others not
        return ""
    return "" if home in (".", "/") else home


def _short(name: str, home: str) -> str:
    name = name.replace("n-gram, order ", "n-gram ")  # for all columns to fit into 80
    return str(Path(name).relative_to(home)) if home and Path(name).is_relative_to(home) else name
