"""Write the pages that are made from the code and the measured figures: part of `make docs`.

python docs/make.py

Pages of commands come from their help, those of the Python door from docstrings, tables from the
files in docs/data/. These are written by docs/walk.py, `benchmarks/run.py PART ... --json` and, of
what `charloom replay --all` came to, docs/replayed.py. In a page written by hand, and in the
README, what stands between `<!-- made: NAME -->` and `<!-- end -->` is made here. A test holds that
what is in the repository is what this makes.
"""

import ast
import json
import math
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import click

import charloom
from charloom import cli
from charloom.cli.lazy import LazyGroup
from charloom.presets import presets

DOCS = Path(__file__).parent
SOURCE = Path(charloom.__file__).parent
BLOCK = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOTE = "<!-- made by docs/make.py: change what it is made from -->\n"


def main() -> None:
    """Write each page that is not what it should be."""
    for path, content in pages().items():
        if not path.is_file() or path.read_text("utf-8") != content:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, "utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")


def pages() -> dict[Path, str]:
    """Return all pages that are made, whole or in part, and what is to be in them."""
    made = {DOCS / "cli" / f"{name}.md": text for name, text in command_pages().items()}
    made[DOCS / "python.md"] = python_page()
    for path in (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))):
        text = path.read_text("utf-8")
        if BLOCK.search(text):
            made[path] = BLOCK.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]]()}\n\n{m[3]}", text)
    return made


# Commands


def command_pages() -> dict[str, str]:
    """Return a page for each command, with those of groups below their group, and an index."""
    root = cli.charloom
    context = root.make_context("charloom", ["--help"], resilient_parsing=True)
    found, index = {}, [NOTE + "# Commands\n"]
    for heading, known in root.sections.items():
        index.append(f"\n## {heading}\n\n| command | what it does |\n|---|---|")
        for name, line in known.items():
            command = root.get_command(context, name)
            assert command is not None
            found[name] = command_page(name, command, context)
            index.append(f"| [{name}]({name}.md) | {line} |")
    return {"index": "\n".join(index) + "\n", **found}


def command_page(name: str, command: click.Command, parent: click.Context) -> str:
    """Return the page of a command."""
    lines = [NOTE + f"# charloom {name}\n", *command_lines(name, command, parent)]
    return "\n".join(lines).rstrip("\n") + "\n"


def command_lines(
    name: str, command: click.Command, parent: click.Context, level: str = "##"
) -> Iterator[str]:
    """Yield what a command does, how it is called, its options and examples."""
    context = click.Context(command, info_name=name, parent=parent)
    yield paragraphs(command.help or "")
    usage = " ".join([f"charloom {name}", *command.collect_usage_pieces(context)])
    yield f"\n    {usage}\n"
    headings: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(context):
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record is not None:
            headings.setdefault(getattr(param, "heading", "Options"), []).append(record)
    if headings.keys() == {"Options"} and len(headings["Options"]) == 1:
        headings = {}  # --help alone
    for heading, records in headings.items():
        yield f"{level} {heading}\n\n| option | what it does |\n|---|---|"
        yield from (f"| {code(names)} | {cell(text)} |" for names, text in records)
        yield ""
    examples = [line.strip() for line in (command.epilog or "").splitlines()]
    if examples := [line for line in examples if line.startswith("charloom")]:
        yield f"{level} Examples\n\n" + "\n".join(f"    {line}" for line in examples) + "\n"
    if isinstance(command, LazyGroup):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            assert inner is not None
            yield f"## charloom {name} {below}\n"
            yield from command_lines(f"{name} {below}", inner, context, "###")


def paragraphs(text: str) -> str:
    """Return the paragraphs of a help text, a line each; marked ones stay as they are."""
    return "\n\n".join(
        block.lstrip("\b\n")
        if block.startswith("\b")
        else " ".join(block.split()).replace("<", "&lt;")
        for block in text.strip().split("\n\n")
    )


def code(text: str) -> str:
    """Return a text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def cell(text: str) -> str:
    """Return prose for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


# The Python door

DOOR = {  # in the order of use: names, and the modules that they are read from
    "Train, open, use": ("train", "resume", "load", "Model"),
    "What they give": ("Run", "Score", "CharloomError"),
    "Settings": (
        *("RunConfig", "ModelConfig", "TransformerConfig", "NgramConfig"),
        *("DataConfig", "TrainConfig", "WatchConfig", "SampleConfig"),
    ),
    "Below": ("Vocabulary", "create_learner", "open_model", "add_cell"),
}
ELSEWHERE = {"add_cell": "models.reference.network"}


def python_page() -> str:
    """Return the page of what `import charloom` gives."""
    lines = [
        NOTE + "# From Python\n",
        "What `import charloom` gives, from its docstrings. "
        "`add_cell` is in `charloom.models.reference`.\n",
    ]
    for heading, names in DOOR.items():
        lines.append(f"## {heading}\n")
        for name in names:
            module = ELSEWHERE.get(name) or charloom._PUBLIC[name]
            path = SOURCE.joinpath(*module.split(".")).with_suffix(".py")
            tree = ast.parse(path.read_text("utf-8"))
            node = next(n for n in tree.body if getattr(n, "name", "") == name)
            lines += described(node, "###")
    return "\n".join(lines).rstrip("\n") + "\n"


def described(node: Any, level: str, owner: str = "") -> list[str]:
    """Return the signature and docstring of a function, or of a class with its public methods."""
    lines = [f"{level} {owner}{node.name}\n"]
    if isinstance(node, ast.FunctionDef):
        lines.append(f"```python\n{signature(node)}\n```\n")
    lines += docstring(node)
    if isinstance(node, ast.ClassDef):
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        if fields:
            lines.append("| field | type | default |\n|---|---|---|")
            for n in fields:
                default = code(ast.unparse(n.value)) if n.value else ""
                lines.append(
                    f"| `{ast.unparse(n.target)}` | {code(ast.unparse(n.annotation))} | {default} |"
                )
            lines.append("")
        for n in node.body:
            if (
                isinstance(n, ast.FunctionDef)
                and not n.name.startswith("_")
                and ast.get_docstring(n)
            ):
                lines += described(n, level + "#", f"{node.name}.")
    return lines


def signature(node: ast.FunctionDef) -> str:
    """Return `def name(arguments) -> result`, on several lines if it is long."""
    arguments = ast.unparse(node.args)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({arguments}){returns}"
    if len(line) <= 80:
        return line
    pieces = re.split(r", (?![^\[]*\])", arguments)
    return "\n".join([f"{node.name}(", *(f"    {piece}," for piece in pieces), f"){returns}"])


def docstring(node: Any) -> list[str]:
    """Return a docstring as Markdown, its examples as code."""
    lines = []
    for block in (ast.get_docstring(node) or "").split("\n\n"):
        if block.startswith(">>>"):
            lines.append(f"```pycon\n{block}\n```\n")
        elif block.startswith(("    ", "- ")):
            lines.append(f"{block}\n")
        else:
            lines.append(" ".join(block.split()).replace("<", "&lt;").replace("*", "\\*") + "\n")
    return lines


# Tables from figures


def data(name: str) -> Any:
    """Return what a measurement wrote."""
    return json.loads((DOCS / "data" / f"{name}.json").read_text("utf-8"))


def nats(value: float | None) -> str:
    """Return a loss as nats and bits."""
    return "infinite" if value is None else f"{value:.3f} nats, {value / math.log(2):.3f} bits"


def quoted(text: str) -> str:
    """Return a sample as a block of text."""
    return f"```text\n{text.rstrip()}\n```"


def step(name: str) -> str:
    """Return the loss and the sample of a step of the walk."""
    walk = data("walk")
    found = walk["guessing"] if name == "guessing" else walk["steps"][name]
    shown = "infinite" if found["nats"] is None else f"{nats(found['nats'])} per character"
    line = f"**Loss on the held-out part: {shown}.**"
    if found.get("parameters"):
        line += f" {found['parameters']:,} parameters."
    return line + (f"\n\n{quoted(found['sample'])}" if "sample" in found else "")


STEPS = {
    "guessing": "guessing, all characters alike",
    "frequencies": "how often each character occurs",
    "markov": "Markov chain of order 4",
    "smoothed": "the same counts, smoothed",
    "longer": "up to 7 characters back, smoothed",
    "rnn": "RNN, as min-char-rnn",
    "lstm": "LSTM, as min-char-lstm",
    "batches": "the same in batches of 32",
    "adamw": "the same with AdamW",
    "cosine": "... with a learning rate that falls",
    "recipe": "charloom's recipe",
    "mixture": "... mixed with the n-gram model",
    "adapted": "... learning while it reads",
}


def walk_table() -> str:
    """Return all steps with their losses."""
    walk = data("walk")
    found = {"guessing": walk["guessing"], **walk["steps"]}
    rows = ["| step | nats | bits |", "|---|---|---|"]
    for name, title in STEPS.items():
        value = found[name]["nats"]
        figures = (
            ("infinite", "") if value is None else (f"{value:.3f}", f"{value / math.log(2):.3f}")
        )
        rows.append(f"| {title} | {figures[0]} | {figures[1]} |")
    return "\n".join(rows)


def zero() -> str:
    """Return how often a Markov chain is wrong for certain."""
    found = data("walk")["zero"]
    return (
        f"Of the held-out characters {found['share']:.1%} never followed their four in training: "
        f"probability 0, so the loss is infinite. On all others it is {nats(found['nats'])}."
    )


def reach() -> str:
    """Return how much of the gradient arrives some characters back."""
    found, places = data("walk")["reach"], (1, 5, 10, 20, 40)
    rows = ["| characters back | " + " | ".join(map(str, places)) + " |", "|---" * 6 + "|"]
    for name, title in (("rnn", "RNN"), ("lstm", "LSTM")):
        shares = " | ".join(f"{found[name][k]:.2g}" for k in places)
        rows.append(f"| {title} | {shares} |")
    return "\n".join(rows)


TITLES = {"war-and-peace.txt": "a novel, translated: War and Peace"}  # of a file, not a corpus


def table(name: str, title: str) -> list[dict[str, str]]:
    """Return the rows of the table of `benchmarks/run.py --json` whose title begins so."""
    (found,) = (t for t in data(name)["tables"] if t["title"].startswith(title))
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def losses() -> str:
    """Return what was measured on texts of several kinds."""
    rows = ["| text | characters | different | guessing | frequencies | n-grams | network |"]
    rows.append("|---|---|---|---|---|---|---|")
    for row in sorted(table("losses", "kinds"), key=lambda row: float(row["network"])):
        names = ("guessing", "frequencies", "n-grams", "network")
        figures = " | ".join(f"{float(row[name]):.2f}" for name in names)
        title = TITLES.get(row["text"], row["text"])
        rows.append(f"| {title} | {row['characters']} | {row['different']} | {figures} |")
    return "\n".join(rows)


SPEEDS = (  # of the README: what, the row in which table of which file, and against whom
    (
        "min-char-lstm, µs per step, one core",
        "min-char-lstm, µs an update",
        "speeds",
        "historic",
        "ref",
    ),
    (
        "min-char-rnn, µs per step, one core",
        "min-char-rnn, µs an update",
        "speeds",
        "historic",
        "ref",
    ),
    (
        "LSTM of 128, characters/s trained, two cores",
        "LSTM 1 x 128",
        "training",
        "training",
        "PyTorch",
    ),
    ("LSTM of 256", "LSTM 1 x 256", "training", "training", "PyTorch"),
    ("LSTM of 512", "LSTM 1 x 512", "training", "training", "PyTorch"),
    (
        "LSTM of 256, characters/s sampled, one core",
        "LSTM 256",
        "speeds",
        "sampling",
        "PyTorch, 1 thread",
    ),
)


def speeds() -> str:
    """Return medians of charloom and of others, how many times it gains, and what measured it."""
    rows = ["| | charloom | against | | times faster |", "|---|---|---|---|---|"]
    for what, name, file, part, other in SPEEDS:
        (row,) = (
            row for row in table(file, part) if row[""] == name and row["against"].startswith(other)
        )
        ours, theirs = (row[column].partition(" (")[0] for column in ("charloom", "its figure"))
        gain = row["times faster, turn by turn"]
        rows.append(f"| {what} | {ours} | {row['against']} | {theirs} | {gain} |")
    machines = (data(file)["machine"] for file in ("speeds", "training"))
    return "\n".join(rows) + "\n\nMeasured on: {}; training: {}.".format(*machines)


TEXTS = {"us-constitution": "Constitution, 45 KB", "tiny-shakespeare": "Tiny Shakespeare, 1.1 MB"}


def losses_of(name: str, row: str, column: str = "nats") -> list[str]:
    """Return a loss, in nats to three places, on each of TEXTS: a median if there are several."""
    found = []
    for text in TEXTS:
        (value,) = (r[column] for r in table(name, f"{name}: {text},") if r[""] == row)
        number = Decimal(value.partition(" ")[0])
        found.append(str(number.quantize(Decimal("0.001"), ROUND_HALF_UP)))
    return found


def compression() -> str:
    """Return the sizes of whole files, as losses, of charloom and of other programs."""
    sides = {"charloom": "charloom compress", "PPMd, order 6": "PPMd, order 6"}
    sides |= {name: name for name in ("zpaq -m5", "bz2 -9", "xz -9")}
    figures = [losses_of("compression", row) for row in sides.values()]
    rows = [f"| nats per character, whole file | {' | '.join(sides)} |", "|---" * 6 + "|"]
    rows += [
        f"| {title} | {' | '.join(values)} |"
        for title, values in zip(TEXTS.values(), zip(*figures, strict=True), strict=True)
    ]
    return "\n".join(rows)


def adaptation() -> str:
    """Return losses of one run as it is and learning while it reads, and of others beside it."""
    titles = [title.partition(",")[0] for title in TEXTS.values()]
    rows = [f"| nats per character on the last tenth | {' | '.join(titles)} |", "|---|---|---|"]
    reading = "learning while reading"
    for title, row in {
        "*static:* a run of half a minute": "0.5 minutes, static",
        f"*{reading}:* the same run": f"0.5 minutes, {reading}",
        "context mixing (`compress`)": f"context mixing, {reading}",
        "zpaq -m5": f"zpaq, {reading}",
        "PPMd, order 6": f"PPMd, {reading}",
        "bz2 -9": f"bz2, {reading}",
    }.items():
        rows.append(f"| {title} | {' | '.join(losses_of('adaptation', row))} |")
    return "\n".join(rows) + f"\n\nOne seed. Measured on: {data('adaptation')['machine']}."


def replayed() -> str:
    """Return what programs wrote when they were run again, and the curves of three presets."""
    parts = []
    for run in data("replay")["runs"]:
        if run.get("sample"):
            end = max(f["iteration"] for f in run["figures"] if f["printed"])
            name = run["program"]["preset"]
            parts.append(f"After {end:,} iterations {name} writes:\n\n{quoted(run['sample'])}")
    curves = data("curves") if (DOCS / "data" / "curves.json").is_file() else []
    for found in curves:
        line = f"{found['name']}, {found['model']}"
        if not found["ended"]:
            line += f", as far as step {found['points'][-1][0]:,}"
        if found["best"] and found["best"]["validation"] is not None:
            line += f"; lowest validation loss {nats(found['best']['validation'])}"
            line += f", at step {found['best']['step']:,}"
        names = ["training"] + ["validation"] * (found["points"][-1][2] is not None)
        head = " | ".join(f"{name}, nats" for name in names)
        rows = [f"| step | {head} |", "|---" * (1 + len(names)) + "|"]
        for number, *values in found["points"]:
            values = values[: len(names)]
            shown = " | ".join("" if value is None else f"{value:.3f}" for value in values)
            rows.append(f"| {number:,} | {shown} |")
        sample = [quoted(found["sample"])] if found["sample"] else []
        parts.append("\n\n".join([f"{line}:", "\n".join(rows), *sample]))
    return "\n\n".join(parts) or "Not run so far."


def published() -> str:
    """Return published figures beside those of `charloom replay --json`."""
    rows = ["| | iteration | published | charloom |", "|---|---|---|---|"]
    for run in data("replay")["runs"]:
        for figure in run["figures"]:
            printed = figure["printed"]
            ours = f"{printed['smooth_sum']:.4f}" if printed else "not run so far"
            numbers = f"{figure['iteration']:,} | {figure['published']:.4f} | {ours}"
            rows.append(f"| {run['program']['preset']} | {numbers} |")
    return "\n".join(rows)


def programs() -> str:
    """Return what each preset was, what is as it was, and what differs."""
    parts = []
    for name, preset in presets().items():
        parts.append(f"### {name}\n\n{preset.source}: {preset.title}.\n")
        kept, differs = (" ".join(text.split()) for text in (preset.kept, preset.differs))
        parts.append(f"**As it was.** {kept}\n\n**What differs.** {differs}\n")
    return "\n".join(parts).replace("<", "&lt;").rstrip("\n")


BLOCKS = {
    "adaptation": adaptation,
    "compression": compression,
    "replayed": replayed,
    **{f"step-{name}": (lambda name=name: step(name)) for name in STEPS},
    "walk-table": walk_table,
    "zero": zero,
    "reach": reach,
    "losses": losses,
    "programs": programs,
    "published": published,
    "speeds": speeds,
}

if __name__ == "__main__":
    main()
