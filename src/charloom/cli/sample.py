"""`charloom sample`: generate text with a run."""

import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from charloom.cli.evaluate import known
from charloom.cli.options import SectionedCommand, examples, given, option, options
from charloom.cli.text import (
    echo_json,
    echo_note,
    echo_raw,
    echo_written,
    is_terminal,
)
from charloom.config import DataConfig, SampleConfig
from charloom.errors import CharloomError
from charloom.formatting import count

if TYPE_CHECKING:
    from charloom.data.text import Text
    from charloom.data.unknown import OnUnknown
    from charloom.generation.copy_limit import CopyLimit
    from charloom.models.protocols import LanguageModel
    from charloom.runs.run import Run

SEPARATOR = "----"
LENGTH, LONGEST = 500, 20_000  # characters, unless told: of a text, and of a whole document
SAMPLING = "Sampling"


@click.command(
    cls=SectionedCommand,
    epilog=examples(
        'charloom sample runs/novel --prompt "It was"',
        "charloom sample runs/novel -n 2000 -t 0.8",
        "charloom sample runs/novel --adapt letters.txt",
    ),
)
@click.argument("run", metavar="RUN")
@option(
    "Text",
    "--prompt",
    default="",
    metavar="TEXT",
    help="Text to continue; printed, too. - reads standard input.",
)
@option(
    "Text",
    "--prompt-file",
    metavar="FILE",
    help="Continue what FILE holds, up to its last line end.",
)
@option(
    "Text",
    "--adapt",
    metavar="FILE",
    help="First let a copy of RUN, a recurrent network, learn FILE, reading it once.",
)
@option(
    "Text",
    "--unknown",
    type=click.Choice(["error", "skip"]),
    default="error",
    metavar="NAME",
    help="error or skip: what to do with characters of these that RUN has never seen.  [error]",
)
@option(
    "Text",
    "--length",
    "-n",
    type=int,
    metavar="N",
    help=f"Characters to generate.  [{LENGTH}; of a --document {LONGEST:,} at most]",
)
@option(
    "Text",
    "--document",
    "-d",
    is_flag=True,
    help="Begin a document, and end where RUN ends it, after N characters at the latest.",
)
@option("Text", "--stop", multiple=True, metavar="TEXT", help="End before this; repeatable.")
@option("Text", "--count", default=1, metavar="N", help="Number of texts, separated by ----.  [1]")
@option("Text", "--seed", type=int, metavar="N", help="Same seed, same text.  [random]")
@options(
    SAMPLING,
    SampleConfig(),
    {
        "temperature": "Below 1 is safer, above 1 is wilder; 0 is --greedy.",
        "top_k": "Draw from the k most likely characters; 0 is all.",
        "top_p": "Draw from the most likely characters that together reach this probability.",
        "min_p": "Leave out characters below this share of the highest probability.",
    },
)
@option(SAMPLING, "--greedy", is_flag=True, help="Always take the most likely character.")
@option(
    SAMPLING,
    "--max-copy",
    type=int,
    metavar="N",
    help="Copy at most N characters in a row from the training text.",
)
@option(
    SAMPLING,
    "--precision",
    type=click.Choice(["full", "bf16"]),
    default="full",
    metavar="NAME",
    help="full or bf16, of matrix products: faster with AMX from 256 units on; other text.  [full]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def sample(context: click.Context, /, run: str, prompt: str, as_json: bool, **values: Any) -> None:
    r"""Generate text with RUN, or with a causal language model in Hugging Face's format.

    Standard output has nothing but the text, as it is generated, and a line break after it; on a
    terminal, a control character is shown as a dot.
    To stop at the end of a line, give your shell's line break: --stop $'\n' in bash. A line break
    at the end of FILE or of standard input is not part of the prompt.

    A RUN that learned from several documents, such as the files of a folder, knows where one ends.
    Without a prompt its texts begin where a document does, and with --document they end where one
    ends; else the next one follows after a blank line.

    A RUN that learned the bytes of files that are no text writes bytes; on a terminal, each is
    shown as a character.

    With --max-copy, a character that would make a copied passage too long is drawn again from
    the others, and standard error says how often. A passage that begins in the prompt counts,
    too. If no other character is possible, the text ends early.
    """
    from charloom.data.unknown import without
    from charloom.generation.sampling import generate, generate_many
    from charloom.runs.open import open_model, open_run

    number, document = values["count"], values["document"]
    length = values["length"]
    if length is None:
        length = LONGEST if document else LENGTH
    config = _settings(context, number)
    opened = open_run(run)
    own = DataConfig() if opened is None else opened.config.data
    text = _prompt(prompt, values["prompt_file"], own)
    echo = echo_raw if own.raw else echo_written
    limit = None if values["max_copy"] is None else _limit(opened, run, values["max_copy"])
    if values["adapt"] is None:
        model = open_model(opened or run, precision=values["precision"])
    else:
        model = _adapted(opened, run, values["adapt"], values["unknown"])
    text, skipped = known(text, text.name, model.vocabulary, own.min_count, values["unknown"])
    prompt = without(text.content, skipped)
    if number == 1 and not as_json:
        pieces = generate(model, config, prompt, length, limit, document=document)
        echo(prompt, nl=False)
        for piece in pieces:
            echo(piece, nl=False)
        if not own.raw or is_terminal():
            echo_written("")
    else:
        texts = generate_many(model, config, prompt, length, number, limit, document=document)
        texts = [prompt + text for text in texts]
        if not as_json:
            echo(f"\n{SEPARATOR}\n".join(texts))
        else:
            told: dict[str, Any] = {"run": run, "prompt": prompt, "length": length}
            told |= {"document": document, "settings": config, "texts": texts}
            if values["adapt"] is not None:
                told["adapt"] = values["adapt"]
            if limit is not None:
                counts = {"characters": limit.most, "redrawn": limit.redrawn, "ended": limit.ended}
                told["max_copy"] = counts
            echo_json(told)
    if limit is not None:
        note = f"--max-copy {limit.most}: {count(limit.redrawn, 'character')} drawn again"
        if limit.ended:
            note += f", {count(limit.ended, 'text')} ended early: try a larger N"
        echo_note(note)


def _prompt(prompt: str, file: str | None, own: DataConfig) -> "Text":
    """Return the prompt, which a file or standard input may hold, as the run's own text is."""
    from charloom.data.raw_bytes import raw_text
    from charloom.data.reading import Reading
    from charloom.data.text import Text, read_text

    if prompt and file is not None:
        message = "--prompt and --prompt-file both say what to continue: give one"
        raise CharloomError(message, "bad-setting", field="prompt_file")
    if own.raw and file is None and prompt != "-":
        return Text.from_string(raw_text(os.fsencode(prompt)), "--prompt")
    if file is None and prompt != "-":
        return Text.prompt(prompt, "--prompt", own.normalize)
    reading = Reading(plain=True, normalize=own.normalize, raw=own.raw)
    text = read_text([file or "-"], reading=reading)
    if own.raw:
        return text
    return replace(Text.from_string(text.content.removesuffix("\n"), text.name), notes=text.notes)


def _adapted(run: "Run | None", name: str, source: str, unknown: "OnUnknown") -> "LanguageModel":
    """Return the network of a run after it has read a text, and learned it."""
    from charloom.data.reading import Reading
    from charloom.data.text import read_text
    from charloom.data.token_file import map_text
    from charloom.training.adaptation import Adaptation

    if run is None:
        message = f"--adapt needs a run, and {name} is none: leave it out"
        raise CharloomError(message, "unsupported", field="adapt")
    own = run.config.data
    text = read_text([source], reading=Reading.like([own]))
    text, skipped = known(text, source, run.vocabulary, own.min_count, unknown)
    ids = map_text(text, run.vocabulary, leave_out=skipped)
    reader = Adaptation(run)
    for _ in reader.read(ids):
        pass
    return reader.model


def _limit(opened: "Run | None", name: str, most: int) -> "CopyLimit":
    from charloom.analysis.inputs import copied_from
    from charloom.generation.copy_limit import CopyLimit

    return CopyLimit(copied_from(opened, name), most)


def _settings(context: click.Context, number: int) -> SampleConfig:
    """Return what was given, with a seed that can be reported if none was."""
    values = given(context)
    if values.get("greedy"):
        if values.get("temperature", 0.0) != 0:
            message = "greedy is temperature 0: give one of them"
            raise CharloomError(message, "bad-setting", field="greedy")
        values["temperature"] = 0.0
    drawing = ("top_k", "top_p", "min_p", "seed")
    idle = [f"--{name.replace('_', '-')}" for name in drawing if name in values]
    idle += ["--count"] if number > 1 else []
    if values.get("temperature") == 0 and idle:
        echo_note(f"without effect at temperature 0, where nothing is drawn: {', '.join(idle)}")
    values = {"seed": secrets.randbits(32)} | values
    return SampleConfig(
        **{name: values[name] for name in SampleConfig.__struct_fields__ if name in values}
    )
