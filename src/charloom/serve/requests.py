"""The body of a request in, a checked `Completion` out, or what is wrong with it."""

import json
import re
from typing import Annotated, Any, Never, TypeVar

import msgspec
from msgspec import Meta

from charloom.serve.errors import Refused

MOST_TOKENS = 100_000  # that one text may have
MOST_IN_ALL = 2**20  # tokens of all texts of a request
MOST_KEPT = 2**14  # the same, if log-probabilities of all are kept until the last is there
MOST_PROMPTED = 100_000  # characters in all prompts of a request
MOST_STOPS = 4
MOST_COPIED = 10_000  # characters in a row, of a limit to copying

T = TypeVar("T", bound=msgspec.Struct)
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Stop = Annotated[str, Meta(min_length=1, max_length=1000)]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream has beside the text; obfuscation is accepted and not done."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Completion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `POST /v1/completions` may ask for, in OpenAI's names; null is the default.

    `top_k`, `min_p` and `max_copy` are charloom's own, as in `charloom sample`. `user` is accepted
    and not used.
    """

    model: Annotated[str, Meta(min_length=1, max_length=1000)]
    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=MOST_TOKENS)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Share | None = None
    max_copy: Annotated[int, Meta(ge=1, le=MOST_COPIED)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, Meta(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=MOST_STOPS)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: (
        Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=1000)] | None
    ) = None
    suffix: str | None = None
    user: Annotated[str, Meta(max_length=1000)] | None = None

    @property
    def prompts(self) -> list[str]:
        """The prompts; without one, an empty one."""
        return self.prompt if isinstance(self.prompt, list) else [self.prompt or ""]

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a text."""
        return tuple([self.stop] if isinstance(self.stop, str) else self.stop or ())

    @property
    def tokens(self) -> int:
        """How many tokens a text may have."""
        return 16 if self.max_tokens is None else self.max_tokens

    @property
    def count(self) -> int:
        """How many texts are answered for each prompt."""
        return self.n or 1

    @property
    def drawn(self) -> int:
        """How many texts are written for each prompt, of which the best are answered."""
        return self.best_of or self.count

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with how many tokens there were."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def struct(body: bytes, kind: type[T]) -> T:
    """Decode a small body strictly as `kind`; raises Refused."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Refused(400, f"the body: {str(error)[:200]}", "invalid_value") from None


def completion(body: bytes) -> Completion:
    """Check the body of a request; raises Refused."""
    document = _decoded(body)
    try:
        asked = msgspec.convert(document, Completion)
    except msgspec.ValidationError as error:
        message, field = told(str(error))
        raise Refused(400, message, "invalid_value", field) from None
    _check(asked)
    return asked


def _decoded(body: bytes) -> Any:
    try:
        document = json.loads(
            body.decode(),
            object_pairs_hook=_without_repeats,
            parse_constant=_no_constant,
            parse_float=_number,
        )
        json.dumps(document, ensure_ascii=False).encode()  # raises for half a character
    except UnicodeError:
        message = "the body is not UTF-8, or has half a character (a lone surrogate)"
        raise Refused(400, message, "invalid_json") from None
    except (ValueError, RecursionError) as error:
        told = "it is nested too deep" if isinstance(error, RecursionError) else f"{error}"
        raise Refused(400, f"the body is not JSON: {told[:200]}", "invalid_json") from None
    if not isinstance(document, dict):
        raise Refused(400, "the body is not a JSON object", "invalid_json")
    return document


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice in one object")
    return found


def _number(text: str) -> float:
    """Return a whole number for 11.0, which JSON Schema takes for one, too."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number in JSON")


def told(message: str) -> tuple[str, str | None]:
    """Return what msgspec says of a field, and the field's name."""
    if unknown := re.search(r"unknown field `(.{1,100}?)`", message, re.DOTALL):
        return f"{unknown[1]!r} is not a field of this request", unknown[1]
    if missing := re.search(r"missing required field `(\w+)`", message):
        return f"{missing[1]} is missing", missing[1]
    place = re.search(r" - at `(?:key in )?\$\.(\w+)", message)
    return message[:300], place[1] if place else None


def _check(asked: Completion) -> None:
    """Raise Refused for what each field allows and all together do not."""

    def refuse(message: str, field: str) -> Never:
        raise Refused(400, message, "invalid_value", field)

    if asked.suffix:
        refuse(
            "suffix is not supported: the models write on from a prompt, and only that", "suffix"
        )
    if asked.drawn < asked.count:
        refuse(f"best_of is {asked.best_of}, but it must be at least n, {asked.count}", "best_of")
    if asked.stream and asked.drawn > asked.count:
        refuse("a stream cannot have best_of: what is best is known at the end", "best_of")
    if sum(map(len, asked.prompts)) > MOST_PROMPTED:
        refuse(f"prompts may have {MOST_PROMPTED:,} characters in all", "prompt")
    texts = len(asked.prompts) * asked.drawn
    kept = not asked.stream and (asked.logprobs is not None or asked.drawn > asked.count)
    most = MOST_KEPT if kept else MOST_IN_ALL
    if texts * asked.tokens > most:
        message = (
            f"{texts} texts of {asked.tokens:,} tokens are more than {most:,} in all, which is the "
            "most here: ask for fewer or shorter ones, or for a stream"
        )
        refuse(message, "max_tokens")
