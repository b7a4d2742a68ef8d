"""`charloom sample`: let a run write."""

import secrets
from typing import Any

import click

from charloom.cli.options import Section, SectionedCommand, changed, given, option, options
from charloom.cli.text import echo_json
from charloom.config import SampleConfig
from charloom.errors import CharloomError

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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def sample(context: click.Context, /, run: str, prompt: str, as_json: bool, **values: Any) -> None:
    r"""Let RUN write, or a causal language model in a folder of Hugging Face's format.

    The text alone is on standard output, as it is written, and a line break after it.
    To stop at the end of a line, give your shell's line break: --stop $'\n' in bash.
    """
    from charloom.model import open_model
    from charloom.sampling import generate, generate_many
    from charloom.vocabulary import UnknownCharacterError

    length, count = values["length"], values["count"]
    config = _settings(context, values["stop"], values["greedy"])
    model = open_model(run)
    try:
        if as_json or count != 1:
            texts = [prompt + text for text in generate_many(model, config, prompt, length, count)]
        else:
            pieces = generate(model, config, prompt, length)
    except UnknownCharacterError as error:
        raise CharloomError(f"--prompt: {error}") from None
    if as_json:
        document = {"run": run, "prompt": prompt, "length": length}
        echo_json(document | {"settings": config, "texts": texts})
    elif count != 1:
        click.echo(f"\n{SEPARATOR}\n".join(texts))
    else:
        click.echo(prompt, nl=False)
        for piece in pieces:
            click.echo(piece, nl=False)
        click.echo()


def _settings(context: click.Context, stop: tuple[str, ...], greedy: bool) -> SampleConfig:
    """What was given; a seed that was not is drawn, so that it can be told."""
    values = {"seed": secrets.randbits(32), "stop": stop} | given(context)
    if greedy:
        values["temperature"] = 0.0
    config: SampleConfig = changed(SampleConfig(), values)
    return config
