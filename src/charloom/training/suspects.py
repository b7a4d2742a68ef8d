"""What in a text may spoil a training, in brief before it begins: `charloom check` tells more."""

import shlex
from dataclasses import replace

import numpy as np

from charloom.config import RunConfig
from charloom.data.inspection import across, inspect, sentences
from charloom.data.parts import Excerpts, Part
from charloom.data.split import split_text
from charloom.data.text import Text
from charloom.progress import Tell, say_nothing

SHORTEST = 1.0  # minutes: what takes less is a try
PER_MINUTE = 1_000_000  # characters that are looked at, in about 2% of the time
MOST = 3_000_000  # which take 170 MB of memory
TOLD = 2  # sentences


def suspects(
    text: Text, arranged: Text, config: RunConfig, tell: Tell = say_nothing
) -> tuple[str, ...]:
    """Return what a person should know before a training of minutes on a text, if anything.

    `arranged` is the text in the order in which it is learned. Of a long text only the beginning is
    looked at. Of copies of documents the split tells.
    """
    minutes = config.train.minutes
    if minutes is None or minutes < SHORTEST:
        return ()
    tell("looking for what may spoil the training")
    found = inspect(_beginning(text, min(MOST, int(PER_MINUTE * minutes))))
    if config.data.split == "documents":
        found.equal.clear()
    split = split_text(arranged.characters, config.data, 1, arranged.layout)
    apart = across(found, text, arranged, arranged.characters - split.train.stop)
    told = sentences(found, apart, brief=True)[:TOLD]
    sources = shlex.join(config.data.sources)
    return (*told, f"charloom check {sources} tells more of what may spoil it") if told else ()


def _beginning(text: Text, most: int) -> Text:
    """Return a text with the parts of its beginning, `most` characters of them or fewer."""
    parts = list[Part]()
    for part in text.parts:
        if most <= 0:
            break
        is_whole = part.size <= most
        parts.append(part if is_whole else Excerpts(part, np.array([0]), np.array([most])))
        most -= part.size
    return replace(text, parts=tuple(parts))
