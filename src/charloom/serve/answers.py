"""Pieces of texts in, OpenAI's form of a completion out: whole, or as events of a stream."""

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from charloom.serve.jobs import Piece, Seen
from charloom.serve.models import Served
from charloom.serve.requests import Completion

RULED_OUT = -9999.0  # for the log-probability of what cannot come, as JSON has no infinity

encode = msgspec.json.encode


class Answer:
    """A completion that comes a piece at a time."""

    def __init__(self, served: Served, asked: Completion, prompted: int) -> None:
        self.served, self.asked, self.prompted = served, asked, prompted
        self.written = 0
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.model,
            "system_fingerprint": served.fingerprint,
        }
        self._texts: dict[int, list[Piece]] = {}
        self._offsets: dict[int, int] = {}

    def add(self, pieces: Iterable[Piece]) -> None:
        """Keep pieces for `whole`."""
        for piece in pieces:
            self._texts.setdefault(piece.number, []).append(piece)

    def event(self, piece: Piece) -> bytes:
        """Return an event of a stream."""
        choice = self._choice(piece.number, piece.text, piece.seen, piece.ended)
        usage = {"usage": None} if self.asked.includes_usage else {}
        return _event(self._head | {"choices": [choice]} | usage)

    def ending(self, written: int) -> bytes:
        """Return the events that end a stream in which so many tokens were written."""
        usage = b""
        if self.asked.includes_usage:
            usage = _event(self._head | {"choices": [], "usage": self._usage(written)})
        return usage + b"data: [DONE]\n\n"

    def whole(self, written: int) -> bytes:
        """Return the whole answer: of each prompt the best texts, if more were written."""
        count, drawn = self.asked.count, self.asked.drawn
        choices: list[dict[str, Any]] = []
        for first in range(0, len(self.asked.prompts) * drawn, drawn):
            texts = [self._texts.get(first + i, []) for i in range(drawn)]
            best: Sequence[int] = range(drawn)
            if drawn > count:
                best = sorted(best, key=lambda i: -_mean(texts[i], self.asked.echo or False))
            for i in best[:count]:
                seen = [one for piece in texts[i] for one in piece.seen]
                text = "".join(piece.text for piece in texts[i])
                choices.append(self._choice(len(choices), text, seen, texts[i][-1].ended))
        return encode(self._head | {"choices": choices, "usage": self._usage(written)})

    def _choice(
        self, index: int, text: str, seen: Sequence[Seen], ended: str | None
    ) -> dict[str, Any]:
        told = None if self.asked.logprobs is None else self._log_probs(index, text, seen)
        return {"index": index, "text": text, "logprobs": told, "finish_reason": ended}

    def _log_probs(self, index: int, text: str, seen: Sequence[Seen]) -> dict[str, Any]:
        token, lengths = self.served.token, self.served.model.vocabulary.lengths
        offset = self._offsets.get(index, 0)
        offsets = []
        for one in seen:
            offsets.append(offset)
            offset += int(lengths[one.id])
        self._offsets[index] = offset
        likeliest = None
        if self.asked.logprobs:
            likeliest = [
                None
                if one.log_prob is None
                else {token(id): _finite(log_prob) for id, log_prob in one.likeliest}
                for one in seen
            ]
        return {
            "tokens": [token(one.id) for one in seen],
            "token_logprobs": [_finite(one.log_prob) for one in seen],
            "top_logprobs": likeliest,
            "text_offset": offsets,
        }

    def _usage(self, written: int) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompted,
            "completion_tokens": written,
            "total_tokens": self.prompted + written,
        }


def _finite(log_prob: float | None) -> float | None:
    return None if log_prob is None else max(log_prob, RULED_OUT)


def _mean(pieces: Sequence[Piece], echo: bool) -> float:
    """Return the mean log-probability of what was written, without the prompt."""
    seen = [one.log_prob for piece in pieces[echo:] for one in piece.seen]
    known = [max(x, RULED_OUT) for x in seen if x is not None]
    return sum(known) / len(known) if known else 0.0


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + encode(document) + b"\n\n"
