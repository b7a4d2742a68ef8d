"""`charloom sample`: let a run write."""

from typing import Any

import click

from charloom.cli.text import echo_json


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--prompt", default="", help="How the text begins; it is printed too.")
@click.option("--length", default=500, show_default=True, help="Characters after the prompt.")
@click.option("--temperature", default=1.0, show_default=True, help="Lower is safer; 0 is greedy.")
@click.option("--greedy", is_flag=True, help="Always the likeliest: --temperature 0.")
@click.option("--top-k", default=0, show_default=True, help="Only the k likeliest; 0 is all.")
@click.option("--top-p", default=1.0, show_default=True, help="The likeliest that reach p.")
@click.option("--min-p", default=0.0, show_default=True, help="None below this share of the top.")
@click.option("--stop", multiple=True, help="End before this text; may be given several times.")
@click.option("--count", default=1, show_default=True, help="How many texts.")
@click.option("--seed", type=int, help="The same seed, the same text.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def sample(run: str, prompt: str, length: int, count: int, as_json: bool, **values: Any) -> None:
    """Let RUN write. The text alone is on standard output, as it is written."""
    from charloom.config import SampleConfig
    from charloom.model import open_model
    from charloom.sampling import generate, generate_many

    if values.pop("greedy"):
        values["temperature"] = 0.0
    config = SampleConfig(**values)
    model = open_model(run)
    if as_json:
        texts = generate_many(model, config, prompt, length, count)
        echo_json({"run": run, "prompt": prompt, "texts": texts})
    elif count == 1:
        pieces = generate(model, config, prompt, length)
        click.echo(prompt, nl=False)
        for piece in pieces:
            click.echo(piece, nl=False)
        click.echo()
    else:
        texts = generate_many(model, config, prompt, length, count)
        click.echo("\n----\n".join(prompt + text for text in texts))
