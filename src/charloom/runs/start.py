"""What a run begins with: a vocabulary and weights, its own, another run's or a folder's."""

from collections.abc import Mapping

from charloom.config import AttentiveConfig, NgramConfig, PretrainedConfig, RunConfig
from charloom.data.boundary import BOUNDARY
from charloom.data.byte_vocabulary import ByteVocabulary
from charloom.data.learned_subwords import learn_subwords
from charloom.data.raw_bytes import CHARACTERS
from charloom.data.split import split_text
from charloom.data.text import Text
from charloom.data.tokenizer import Tokenizer
from charloom.data.vocabulary import Vocabulary, describe
from charloom.errors import CharloomError
from charloom.formatting import count, listed
from charloom.models.engines import load_torchnet
from charloom.models.weights import Array, with_characters
from charloom.progress import Tell, say_nothing
from charloom.runs.run import Run

_DESCRIBED, _NAMED = 3, 50  # new characters: with their names in Unicode, or by themselves, at most


def first_vocabulary(config: RunConfig, text: Text, tell: Tell = say_nothing) -> Tokenizer:
    """Return the characters of a text and of the weights to begin with, or bytes, or tokens.

    Tokens are those of the weights, or are learned from the training part. Raises CharloomError if
    one of the text's characters is not among those of a pretrained model.
    """
    vocabulary: Tokenizer
    if config.start is not None:
        start, vocabulary = config.start, Run.open(config.start).vocabulary
        if isinstance(vocabulary, ByteVocabulary):
            return ByteVocabulary(vocabulary.has_boundary or text.has_boundaries)
    elif config.data.raw:
        return Vocabulary(CHARACTERS)
    elif (unit := config.data.unit) == "byte":
        return ByteVocabulary(text.has_boundaries)
    elif unit in ("bpe", "word"):
        tell("learning the subwords of the text")
        end = split_text(text.characters, config.data, 1, text.layout).train.stop
        return learn_subwords(text.pieces(), end, unit, text.has_boundaries)
    elif isinstance(config.model, PretrainedConfig):
        start = config.model.source
        vocabulary = load_torchnet().read_tokens(start)
    else:
        return Vocabulary.from_alphabet(text.alphabet, text.characters)
    if vocabulary.unit == "characters":
        return Vocabulary(tuple(sorted({*vocabulary.characters, *text.alphabet})))
    if unknown := vocabulary.unknown(text.alphabet):
        message = (
            f"{start} does not know {listed([*map(describe, unknown)])}: remove them, or "
            "train without --from"
        )
        raise CharloomError(message, "unknown-character", path=start)
    return vocabulary


def first_weights(
    config: RunConfig, vocabulary: Tokenizer
) -> tuple[Mapping[str, Array] | None, list[str]]:
    """Return the weights that a run begins with: another's, a folder's, or None for fresh ones.

    They are made to fit a vocabulary with more characters (see `with_characters`), and a note
    names these. Raises CharloomError if they cannot be read.
    """
    if config.start is not None:
        start = Run.open(config.start)
        weights = start.load_weights()
        if isinstance(config.model, PretrainedConfig | NgramConfig | AttentiveConfig):
            return weights, []
        if vocabulary.unit != "characters":
            return weights, []
        known = start.vocabulary.characters
        if gone := vocabulary.unknown(known):
            message = (
                f"{start.path} has {listed([*map(describe, gone)])}, which it did not have when "
                "this run was created: restore that run, or train a new one"
            )
            raise CharloomError(message, "other-settings", path=str(start.path))
        places = vocabulary.encode("".join(known))
        weights = with_characters(config.model, weights, places, len(vocabulary))
        old = {*known, BOUNDARY}
        new = [character for character in vocabulary.characters if character not in old]
        others = len(vocabulary) - len(new) - (vocabulary.boundary is not None)
        added = f"{count(len(new), 'character')} added to the {count(others, 'character')} of"
        names = [*map(describe, new)] if len(new) <= _DESCRIBED else [*map(repr, new)]
        return weights, [f"{added} {config.start}: {listed(names, _NAMED)}"] if new else []
    if isinstance(config.model, PretrainedConfig) and not config.model.lora:
        return load_torchnet().source_weights(config.model), []
    return None, []
