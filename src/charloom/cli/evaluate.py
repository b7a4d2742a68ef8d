"""`charloom evaluate`: how well a run predicts a text."""

from typing import TYPE_CHECKING

import click

from charloom.cli.text import echo_json, table
from charloom.errors import CharloomError

if TYPE_CHECKING:
    from charloom.data.tokenizer import Tokenizer
    from charloom.models.engines import Ids
    from charloom.runs.run import Run


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def evaluate(run: str, files: tuple[str, ...], as_json: bool) -> None:
    """Say how well RUN predicts text that it was not trained on.

    That is the end of its own text, which was held out; or each FILE (a folder, - for
    standard input, or corpus:NAME). Lower is better, and comparable between models only
    where the text is the same. RUN can be a folder with a causal language model in Hugging
    Face's format, too.
    """
    from charloom.evaluation import evaluate as score
    from charloom.runs.open import is_pretrained, open_model
    from charloom.runs.run import Run

    if is_pretrained(run) and not files:
        raise CharloomError(f"{run} is a model that has no text of its own: name a FILE to score")
    opened: str | Run = run if is_pretrained(run) else Run.open(run)
    model = open_model(opened)
    texts = {name: _read(name, model.vocabulary) for name in files}
    if isinstance(opened, Run):
        texts = texts or _held_out(opened)
    for name, ids in texts.items():
        if len(ids) < 2:
            raise CharloomError(f"{name} has {len(ids)} character: two at least can be scored")
    scores = {name: score(model, ids) for name, ids in texts.items()}
    if as_json:
        rows = [
            {
                "text": name,
                "characters": s.characters,
                "nats": s.nats,
                "bits": s.bits,
                "perplexity": s.perplexity,
            }
            for name, s in scores.items()
        ]
        echo_json({"run": run, "scores": rows})
        return
    figures = [
        (name, f"{s.nats:.4f}", f"{s.bits:.4f}", f"{s.perplexity:.3f}", f"{s.characters:,}")
        for name, s in scores.items()
    ]
    header = ("text", "nats/character", "bits/character", "perplexity", "characters")
    click.echo(table(header, figures))
    if any(s.nats == float("inf") for s in scores.values()):
        click.echo("inf: a character came that the model held to be impossible", err=True)


def _held_out(run: "Run") -> "dict[str, Ids]":
    parts = run.read_parts()
    held_out = {"validation": parts.validation, "test": parts.test}
    texts: dict[str, Ids] = {name: ids for name, ids in held_out.items() if ids is not None}
    if not texts:
        raise CharloomError(f"{run.path} held no text out of training: name a FILE to score")
    return texts


def _read(name: str, vocabulary: "Tokenizer") -> "Ids":
    from charloom.data.text import read_text
    from charloom.data.token_file import map_text
    from charloom.data.vocabulary import UnknownCharacterError

    text = read_text([name])
    for note in text.notes:
        click.echo(f"charloom: {name}: {note}", err=True)
    try:
        return map_text(text, vocabulary)
    except UnknownCharacterError as error:
        line = text.head(error.position).count("\n") + 1
        raise CharloomError(f"{name}, line {line:,}: {error}") from None
