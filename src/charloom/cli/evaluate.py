"""`charloom evaluate`: how well a run predicts a text."""

import math
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.options import examples, options
from charloom.cli.text import (
    echo,
    echo_json,
    echo_note,
    progress,
    score_fields,
    table,
)
from charloom.config import DataConfig, Errors, replace
from charloom.errors import CharloomError

if TYPE_CHECKING:
    from charloom.data.text import Text
    from charloom.data.tokenizer import Ids, Tokenizer
    from charloom.data.unknown import OnUnknown
    from charloom.evaluation import Score
    from charloom.runs.run import Run
    from charloom.training.adaptation import Adapted


@click.command(
    epilog=examples(
        "charloom evaluate runs/novel",
        "charloom evaluate runs/novel other.txt",
        "charloom evaluate runs/novel --adapt",
    )
)
@click.argument("run", metavar="RUN")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    metavar="NAME",
    help="error or skip: what to do with characters that RUN has never seen.  [error]",
)
@options(
    "Options",
    DataConfig(),
    {
        "encoding": "Encoding of FILE, or detect.",
        "errors": "strict, or replace: read U+FFFD where FILE is not in that encoding.",
    },
)
@click.option(
    "--adapt",
    is_flag=True,
    help="Also measure it while it learns what it reads: 100,000 characters take some 10 s.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def evaluate(
    run: str,
    files: tuple[str, ...],
    unknown: "OnUnknown",
    encoding: str | None,
    errors: Errors | None,
    adapt: bool,
    as_json: bool,
) -> None:
    """Measure how well RUN predicts text that it was not trained on.

    Without FILE, that is the validation part of its own text, and the test part if there is one.
    FILE is a file, a folder, - for standard input, or corpus:NAME. Lower is better; figures of
    two models compare only if the text is the same. RUN can also be a folder with a causal
    language model in Hugging Face's format.

    With --unknown skip, the figures are those of the text without the characters that RUN has
    never seen; standard error says which and how many.

    These figures are static: RUN stays as its training left it. --adapt puts those of learning
    while reading beside them: of each 50 characters, a copy of its network is scored first, then
    it learns from them. Contexts that have read the training text (what `charloom compress`
    predicts with) are mixed in; for a RUN that reads tokens, the network is alone. Networks that
    are not recurrent cannot do this. The two kinds of figures do not compare.
    """
    from charloom.data.reading import Reading
    from charloom.data.text import read_text
    from charloom.data.token_file import map_text
    from charloom.evaluation import evaluate as library
    from charloom.runs.open import open_model, open_run

    opened = open_run(run)
    own = DataConfig() if opened is None else opened.config.data
    reading = Reading.of(replace(own, encoding=encoding or "utf-8", errors=errors or "strict"))
    if opened is None and not files:
        raise CharloomError(f"{run} is a model without a text of its own: name a FILE", "no-text")
    model = open_model(opened or run)
    texts: dict[str, Ids] = {}
    skipped: dict[str, dict[str, int]] = {}
    for name in files:
        text = read_text([name], reading=reading)
        text, skipped[name] = known(text, name, model.vocabulary, own.min_count, unknown)
        texts[name] = map_text(text, model.vocabulary, leave_out=skipped[name])
    if opened is not None:
        texts = texts or _held_out(opened)
    for name, ids in texts.items():
        if len(ids) < 2:
            raise CharloomError(f"{name} is too short to score: it needs 2 characters", "no-text")
    if adapt and opened is None:
        message = f"{run} is a model without a training text: --adapt needs a run"
        raise CharloomError(message, "unsupported", field="adapt")
    scores = {name: library(model, ids) for name, ids in texts.items()}
    learning = _learning(opened, texts) if adapt and opened is not None else {}
    if as_json:
        rows = [
            {"text": name}
            | score_fields(score)
            | {"skipped": skipped.get(name, {})}
            | _learning_fields(learning.get(name))
            for name, score in scores.items()
        ]
        echo_json({"run": run, "scores": rows})
        return
    echo(table(*(_both(scores, learning) if adapt else _static(scores))))
    if math.inf in {s.nats for s in scores.values()}:
        echo("inf: the model rules out a character that occurs in the text", err=True)


def _static(scores: "dict[str, Score]") -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the rows of a table."""
    header = ("text", "nats/character", "bits/character", "perplexity", "characters")
    return header, [
        (name, f"{s.nats:.4f}", f"{s.bits:.4f}", f"{s.perplexity:.3f}", f"{s.characters:,}")
        for name, s in scores.items()
    ]


def _both(
    scores: "dict[str, Score]", learning: "dict[str, Adapted]"
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the rows of a table, with a column for each way to be scored."""
    header = ("text", "static: nats", "bits", "learning while reading: nats", "bits", "characters")
    rows = []
    for name, static in scores.items():
        both = static, learning[name].score
        figures = [f"{figure:.4f}" for score in both for figure in (score.nats, score.bits)]
        rows.append((name, *figures, f"{static.characters:,}"))
    return header, rows


def _learning(run: "Run", texts: "dict[str, Ids]") -> "dict[str, Adapted]":
    from charloom.training.adaptation import evaluate

    with progress() as (_, tell):
        return {name: evaluate(run, ids, tell) for name, ids in texts.items()}


def _learning_fields(found: "Adapted | None") -> dict[str, Any]:
    if found is None:
        return {}
    names = "nats", "bits", "perplexity"
    fields = {name: getattr(found.score, name) for name in names}
    fields["network_nats"] = found.alone and found.alone.nats
    return {"learning": fields}


def _held_out(run: "Run") -> "dict[str, Ids]":
    parts = run.parts()
    held_out = {"validation": parts.validation, "test": parts.test}
    texts: dict[str, Ids] = {name: ids for name, ids in held_out.items() if ids is not None}
    if not texts:
        raise CharloomError(f"{run.path} has no validation or test part: name a FILE", "no-text")
    return texts


def known(
    text: "Text", name: str, vocabulary: "Tokenizer", min_count: int, unknown: "OnUnknown"
) -> "tuple[Text, dict[str, int]]":
    """Return a text as a run has learned it, and how often each character occurs that is skipped.

    Notes tell both; `name` is what they call the text.
    """
    from charloom.data.rare import as_learned
    from charloom.data.unknown import check_known

    text = as_learned(text, vocabulary, min_count)
    for note in text.notes:
        echo_note(f"{name}: {note}")
    found = check_known(text, vocabulary, name, unknown)
    if found is None:
        return text, {}
    echo_note(f"{name}: skipped {found}")
    return text, found.counts
