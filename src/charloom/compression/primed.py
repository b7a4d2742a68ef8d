"""Compressing with what a run knows, or with a network that the file brings."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from charloom.compression import plain
from charloom.compression.container import (
    PRIMED,
    Amount,
    Content,
    close,
    content_of,
    digest,
    ids_of,
    open_file,
    read_header,
)
from charloom.compression.prior import Embedded, Id, Marks, Prior
from charloom.compression.telling import told
from charloom.errors import CharloomError
from charloom.models.mixing.model import piece_of
from charloom.models.weights import parameter_count
from charloom.progress import Tell, say_nothing

MOST_WEIGHTS = 16  # for each byte that they take: of a network that learned something, 2 or 3


class Header(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What the decoder has to know beside the run.

    `extra` are the characters that the run has not; `run` is its name, `step` its checkpoint.
    Either its `marks` or what is `embedded` is there.
    """

    is_text: bool
    count: Amount  # of symbols in the content
    extra: str
    digest: bytes
    run: Annotated[str, Meta(pattern=r"\A[ -~]{0,50}\Z")]  # it is shown in a terminal
    step: Id
    marks: Marks | None
    embedded: Embedded | None


def compress(
    content: bytes, text: str, is_text: bool, prior: Prior, embed: bool, tell: Tell = say_nothing
) -> tuple[bytes, int]:
    """Return the file that holds some content, which is this text, and the size of its network."""
    embedded, weights = None, b""
    if embed:
        name = prior.name
        prior, embedded, levels = prior.embedded()
        weights = plain.compress(levels, levels.decode("latin-1"), False)
        if len(levels) > MOST_WEIGHTS * len(weights):
            message = f"nearly all weights of {name} are 0: leave out --embed"
            raise CharloomError(message, "unsupported", path=name)
        embedded = msgspec.structs.replace(embedded, size=len(weights))
    extra = "".join(sorted({*text} - {*prior.symbols}))
    header = Header(
        is_text,
        len(text),
        extra,
        digest(content),
        re.sub("[^ -~]", "?", prior.name)[:50],
        prior.step,
        None if embed else prior.marks(),
        embedded,
    )
    ready = prior.begin(extra, len(text), tell)
    code = ready.mixer.encode(ids_of(text, ready.symbols), ready.network)
    told_code = told(code, piece_of(ready.network), "compressing", len(text), tell)
    packed = close(PRIMED, header, [weights, *told_code])
    return packed, len(msgspec.msgpack.encode(embedded)) + len(weights) if embed else 0


def decompress(
    content: Content, name: str, run: str | None, tell: Tell = say_nothing
) -> tuple[bytes, bytes]:
    """Return what a file holds, and the digest that it should have.

    Raises ValueError if it cannot be, and CharloomError if it needs a run, or another one.
    """
    header = read_header(content, Header)
    code = content.code
    if header.embedded is not None:
        size = header.embedded.size
        prior, code = _brought(header.embedded, code[:size]), code[size:]
    elif header.marks is not None:
        prior = _of_run(header, header.marks, name, run)
    else:
        raise ValueError("its header contradicts itself")
    if set(header.extra) & set(prior.symbols) or len(set(header.extra)) != len(header.extra):
        raise ValueError("its header contradicts itself")
    ready = prior.begin(header.extra, header.count, tell)
    ids = ready.mixer.decode(code, ready.network)
    pieces = told(ids, piece_of(ready.network), "decompressing", header.count, tell)
    return content_of(pieces, ready.symbols, header.is_text), header.digest


def _brought(embedded: Embedded, weights: bytes) -> Prior:
    """Return what a file brings; of weights of another size than the settings say, none is read."""
    try:
        inner = open_file(weights, "")
    except CharloomError as error:
        raise ValueError("its weights are not whole") from error
    size = parameter_count(embedded.config, len(embedded.symbols))
    if plain.header_of(inner).count != size or size > MOST_WEIGHTS * len(weights):
        raise ValueError("its weights are not those of its settings")
    levels, checksum = plain.decompress(inner)
    if digest(levels) != checksum:
        raise ValueError("its weights have another checksum")
    return Prior.of_embedded(embedded, levels)


def _of_run(header: Header, marks: Marks, name: str, run: str | None) -> Prior:
    """Open the run that a file needs; raises CharloomError if it is another one."""
    needed = f"the run {header.run}" + f" at step {header.step}" * bool(header.step)
    if run is None:
        message = f"{name} was compressed with {needed}: name that run by --model"
        raise CharloomError(message, "bad-setting", field="model", run=header.run)
    try:
        prior = Prior.of_run(run, header.step)
    except CharloomError as error:
        message = f"{name} was compressed with {needed}, but {error}"
        raise CharloomError(message, error.code, **error.facts) from None
    found = prior.marks()
    names = marks.__struct_fields__
    differ = [part for part in names if getattr(found, part) != getattr(marks, part)]
    if differ:
        message = (
            f"{name} was compressed with {needed}, and {run} differs from it in its "
            f"{' and '.join(differ)}: name that run, as it was then"
        )
        raise CharloomError(message, "other-settings", path=name, differ=differ)
    return prior
