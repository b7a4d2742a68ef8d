"""`charloom evaluate`: how well a run predicts a text."""

import math

import click

from charloom.cli.text import echo_json, table


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def evaluate(run: str, files: tuple[str, ...], as_json: bool) -> None:
    """Score RUN on its held-out text, or on FILE: nats and bits per character."""
    from charloom.errors import CharloomError
    from charloom.evaluation import evaluate as score
    from charloom.model import open_model
    from charloom.run import Run
    from charloom.text import read_text

    opened = Run.open(run)
    if files:
        texts = {name: opened.vocabulary.encode(read_text([name]).content) for name in files}
    else:
        parts = opened.read_parts()
        held = {"validation": parts.validation, "test": parts.test}
        texts = {name: ids for name, ids in held.items() if ids is not None}
        if not texts:
            raise CharloomError(f"{run} held nothing out: give a FILE to score")
    model = open_model(opened)
    scores = {name: score(model, ids) for name, ids in texts.items()}
    if as_json:
        rows = [
            {"text": name, "nats": s.nats, "bits": s.bits, "perplexity": s.perplexity}
            | {"characters": s.characters}
            for name, s in scores.items()
        ]
        echo_json({"run": run, "scores": rows})
        return
    header = ("text", "nats/char", "bits/char", "perplexity", "characters")
    figures = [
        (name, f"{s.nats:.4f}", f"{s.bits:.4f}", f"{s.perplexity:.3f}", f"{s.characters:,}")
        for name, s in scores.items()
    ]
    click.echo(table(header, figures))
    if any(math.isinf(s.nats) for s in scores.values()):
        click.echo("\ninf: the model held a character that came to be impossible")
