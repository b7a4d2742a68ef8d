"""`charloom sample`: let a run write."""

import secrets
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.options import Section, SectionedCommand, changed, given, option, options
from charloom.cli.text import echo_json
from charloom.config import SampleConfig
from charloom.errors import CharloomError

if TYPE_CHECKING:
    from charloom.generation.copy_limit import CopyLimit

SEPARATOR = "----"
_DRAWING = Section(
    "How characters are drawn",
    SampleConfig(),
    {
        "temperature": "Below 1 is safer, above is wilder; 0 is --greedy.",
        "top_k": "Draw from the k likeliest only; 0 is all.",
        "top_p": "Draw from the likeliest that together reach this probability.",
        "min_p": "Leave out what is below this share of the likeliest.",
    },
)


@click.command(cls=SectionedCommand)
@click.argument("run", metavar="RUN")
@option("Text", "--prompt", default="", metavar="TEXT", help="How it begins; printed too.")
@option("Text", "--length", default=500, metavar="N", help="Characters after the prompt.  [500]")
@option("Text", "--stop", multiple=True, metavar="TEXT", help="End before this; can be repeated.")
@option("Text", "--count", default=1, metavar="N", help="How many texts, with ---- between.  [1]")
@option("Text", "--seed", type=int, metavar="N", help="The same seed writes the same text.")
@options(_DRAWING)
@option(_DRAWING.title, "--greedy", is_flag=True, help="Always take the likeliest.")
@option(
    _DRAWING.title,
    "--max-copy",
    type=int,
    metavar="N",
    help="Never more than N characters in a row from what the run learned from.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def sample(context: click.Context, /, run: str, prompt: str, as_json: bool, **values: Any) -> None:
    r"""Let RUN write, or a causal language model in a folder of Hugging Face's format.

    The text alone is on standard output, as it is written, and a line break after it.
    To stop at the end of a line, give your shell's line break: --stop $'\n' in bash.

    With --max-copy a character that would be one too many is drawn anew from the others, and
    how often stands on standard error. A passage may begin in the prompt, which counts. Where
    no character is left the text ends, and it is said.
    """
    from charloom.data.vocabulary import UnknownCharacterError
    from charloom.generation.sampling import generate, generate_many
    from charloom.runs.open import open_model

    length, count, most = values["length"], values["count"], values["max_copy"]
    config = _settings(context, values["stop"], values["greedy"])
    limit = None if most is None else _limit(run, most)
    model = open_model(run)
    try:
        if as_json or count != 1:
            texts = generate_many(model, config, prompt, length, count, limit)
            texts = [prompt + text for text in texts]
        else:
            pieces = generate(model, config, prompt, length, limit)
    except UnknownCharacterError as error:
        raise CharloomError(f"--prompt: {error}") from None
    if as_json:
        document = {"run": run, "prompt": prompt, "length": length}
        copying = {} if limit is None else {"max_copy": _counts(limit)}
        echo_json(document | {"settings": config, "texts": texts} | copying)
    elif count != 1:
        click.echo(f"\n{SEPARATOR}\n".join(texts))
    else:
        click.echo(prompt, nl=False)
        for piece in pieces:
            click.echo(piece, nl=False)
        click.echo()
    if limit is not None:
        _tell(limit, count)


def _limit(run: str, most: int) -> "CopyLimit":
    from charloom.analysis.inputs import training_text
    from charloom.generation.copy_limit import CopyLimit
    from charloom.runs.open import is_pretrained
    from charloom.runs.run import Run

    if is_pretrained(run):
        raise CharloomError(
            f"--max-copy needs what a model learned from, and {run} has no text of its own"
        )
    opened = Run.open(run)
    if opened.vocabulary.unit == "tokens":
        raise CharloomError(f"--max-copy counts characters, and {run} writes tokens: leave it out")
    return CopyLimit(training_text(opened), most)


def _counts(limit: "CopyLimit") -> dict[str, int]:
    return {"characters": limit.most, "redrawn": limit.redrawn, "ended": limit.ended}


def _tell(limit: "CopyLimit", count: int) -> None:
    drawn = "1 character was" if limit.redrawn == 1 else f"{limit.redrawn:,} characters were"
    said = f"charloom: --max-copy {limit.most}: {drawn} drawn anew"
    if limit.ended:
        which = "the text ends early" if count == 1 else f"{limit.ended:,} texts end early"
        said += f"; {which}, where the model knew no other way to go on: try a larger N"
    click.echo(said, err=True)


def _settings(context: click.Context, stop: tuple[str, ...], greedy: bool) -> SampleConfig:
    """What was given; a seed that was not is drawn, so that it can be told."""
    values = {"seed": secrets.randbits(32), "stop": stop} | given(context)
    if greedy:
        values["temperature"] = 0.0
    config: SampleConfig = changed(SampleConfig(), values)
    return config
