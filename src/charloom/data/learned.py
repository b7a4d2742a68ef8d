"""Runs and models by the names in their folders: they were learned, and are no text to learn from.

Which names those are: see runs/run.py and models/torchnet/folders.py.
"""

import shlex
from collections.abc import Collection
from pathlib import Path

from charloom.errors import CharloomError
from charloom.formatting import in_a_line

_MAKE_A_RUN = {"config.json", "vocabulary.json", "corpus.json", "metrics.jsonl", "checkpoints"}
OF_A_RUN = _MAKE_A_RUN | {"ids.npy", "ids.json", "corpus.txt", "final.json", "samples"}
OF_A_RUN |= {"tensorboard"}
_OF_A_MODEL = {
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"),
}


def kind_of(names: Collection[str]) -> str:
    """Say what a folder with these names in it is: a run, a model, or neither of them ("")."""
    if len(_MAKE_A_RUN.intersection(names)) >= 3:  # complete or not
        return "a run"
    weights = any(name.endswith(".safetensors") for name in names)
    return "a model" if weights and {"config.json", "MANIFEST.json"}.intersection(names) else ""


def kind_of_folder(path: Path) -> str:
    """Say what a folder is, as `kind_of` does; "" if it cannot be read."""
    try:
        return kind_of([entry.name for entry in path.iterdir()])
    except OSError:  # whoever looks for its files says so
        return ""


def refuse_learned(source: str) -> None:
    """Raise CharloomError for a run or a model, and for a file or folder that is part of one.

    A file below samples/ is a text, of which nobody but the user can say what it is for, and so is
    the copy of the text that early runs kept.
    """
    found = _whole(Path(source).resolve())
    if found is None:
        return
    kind, folder = found
    is_part = folder != Path(source).resolve()
    what, name = f"{'part of ' * is_part}{kind}", shlex.quote(str(folder) if is_part else source)
    cure = f"to begin with its weights, name a text: charloom train TEXT --from {name}"
    if kind == "a run":
        cure = f"to continue it: charloom resume {name}; {cure}"
    message = f"{in_a_line(source)} is {what}, not a text; {cure}"
    raise CharloomError(message, "not-text", why=what, path=source)


def _whole(path: Path) -> tuple[str, Path] | None:
    """Return the run or model that this is or is part of: which of them, and its folder."""
    for part, folder in zip((path, *path.parents), path.parents, strict=False):
        is_text = part.name == "corpus.txt" or (part.name == "samples" and path.is_file())
        if part.name in OF_A_RUN and not is_text and kind_of_folder(folder) == "a run":
            return "a run", folder
    if path.name in _OF_A_MODEL and kind_of_folder(path.parent) == "a model":
        return "a model", path.parent
    kind = kind_of_folder(path)
    return (kind, path) if kind else None
