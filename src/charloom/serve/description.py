"""The API as an OpenAPI 3.1 document, made from the types that check requests."""

from typing import Any

import msgspec

from charloom import __version__
from charloom.serve.learning import LEARNING
from charloom.serve.page import Next
from charloom.serve.requests import Completion
from charloom.serve.runs_page import Renamed
from charloom.serve.shell import PARTS
from charloom.serve.training import Begin

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
}
_NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}
LOGPROBS = {
    "type": ["object", "null"],
    "properties": {
        "tokens": {"type": "array", "items": {"type": "string"}},
        "token_logprobs": _NUMBERS,
        "top_logprobs": {
            "type": ["array", "null"],
            "items": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
        },
        "text_offset": {"type": "array", "items": {"type": "integer"}},
    },
}
CHOICE = {
    "type": "object",
    "required": ["index", "text", "logprobs", "finish_reason"],
    "properties": {
        "index": {"type": "integer"},
        "text": {"type": "string"},
        "logprobs": LOGPROBS,
        "finish_reason": {"enum": ["stop", "length", None]},
    },
}
ANSWER = {
    "type": "object",
    "required": ["id", "object", "created", "model", "system_fingerprint", "choices"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "text_completion"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "system_fingerprint": {"type": "string"},
        "choices": {"type": "array", "items": CHOICE},
        "usage": {
            "type": ["object", "null"],
            "properties": {
                name: {"type": "integer"}
                for name in ("prompt_tokens", "completion_tokens", "total_tokens")
            },
        },
    },
}


SHOWN = {
    "type": "object",
    "required": ["id", "kind", "text", "characters"],
    "properties": {
        "id": {"type": "string"},
        "kind": {"type": "string"},
        "text": {"type": "string"},
        "characters": {"type": "array", "items": {"type": "string"}},
    },
}
PREDICTED = {
    "type": "object",
    "required": ["log_probs"],
    "properties": {"log_probs": _NUMBERS},
}
OBJECT = {"type": "object"}  # what the page alone is told may change with it


def description() -> dict[str, Any]:
    """Return the whole document."""
    (asked, asked_next, begin, renamed), schemas = msgspec.json.schema_components(
        [Completion, Next, Begin, Renamed], ref_template="#/components/schemas/{name}"
    )
    by_name = {"parameters": [_in_path("name")]}
    schemas |= {"Error": ERROR, "Model": MODEL, "Answer": ANSWER}
    schemas |= {"Shown": SHOWN, "Predicted": PREDICTED}
    return {
        "openapi": "3.1.0",
        "info": {"title": "charloom", "version": __version__},
        "paths": {
            "/healthz": {
                "get": _get("Whether the server is ready.", {"type": "object"}, errors=(503,))
            },
            "/metrics": {"get": _get("Figures for Prometheus.", None, "text/plain")},
            "/openapi.json": {"get": _get("This description.", {"type": "object"})},
            "/v1/models": {"get": _get("The models.", _list_of(_ref("Model")))},
            "/v1/models/{name}": {
                "parameters": [_in_path("name")],
                "get": _get("A model.", _ref("Model")),
            },
            "/v1/completions": {
                "post": {
                    "summary": "Write on from a prompt.",
                    "requestBody": _body(asked),
                    "responses": {
                        "200": _content(
                            "The texts; with stream, an event for each piece, then [DONE].",
                            _as_json(_ref("Answer"))
                            | {"text/event-stream": {}},  # a schema would be that of each event
                        )
                    }
                    | _errors(400, 401, 403, 404, 408, 413, 415, 429, 503),
                }
            },
            "/v1/chat/completions": {
                "post": {
                    "summary": "Not served: the models know no roles.",
                    "responses": _errors(400, 401, 403, 404, 408, 413, 415),
                }
            },
            **{
                part.address: {"get": _get(f"The page: {part.title}.", None, "text/html")}
                for part in PARTS
            },
            "/static/{file}": {
                "parameters": [_in_path("file")],
                "get": _get("A file of the page.", None, "text/css", "text/javascript"),
            },
            "/page/{file}": {
                "parameters": [_in_path("file")],
                "get": _get("A file of the page.", None, "text/css", "text/javascript"),
            },
            "/v1/charloom/models": {
                "get": _get("The models that the page can show.", _list_of(_ref("Shown")))
            },
            "/v1/charloom/next": {
                "post": {
                    "summary": "How likely each character is to come after a text.",
                    "requestBody": _body(asked_next),
                    "responses": {"200": _content("Of each id.", _as_json(_ref("Predicted")))}
                    | _errors(400, 401, 403, 404, 408, 413, 415),
                }
            },
            **{
                f"/v1/charloom/{name}": {"post": _learning(kind)} for name, kind in LEARNING.items()
            },
            "/v1/charloom/runs": {"get": _get("All runs, and those in the trash.", OBJECT)},
            "/v1/charloom/runs/{name}": by_name
            | {
                "post": _change("Rename a run.", _body(renamed)),
                "delete": _change("Move a run to the trash."),
            },
            "/v1/charloom/trash/{name}": by_name
            | {"post": _change("Take a run out of the trash.", _body(OBJECT))},
            "/v1/charloom/curves/{name}": by_name
            | {"get": _get("The points of a learning curve that are new.", OBJECT, errors=(409,))},
            "/v1/charloom/levels/{name}": by_name
            | {"get": _get("What simple models reach on its text.", OBJECT, errors=(409,))},
            "/v1/charloom/texts": {
                "post": _change(
                    "Send in a text, to be checked and trained on.",
                    {
                        "required": True,
                        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
                    },
                )
                | {"parameters": [{"name": "name", "in": "query", "schema": {"type": "string"}}]},
                "delete": _change("Let go of the text."),
            },
            "/v1/charloom/training": {
                "get": _get("The text, its check, and the training.", OBJECT),
                "post": _change("Train a new run on the text, or a run on.", _body(begin)),
                "delete": _change("Save, and stop training: that of a run, if one is named.")
                | {"parameters": [{"name": "run", "in": "query", "schema": {"type": "string"}}]},
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _learning(kind: type[msgspec.Struct]) -> dict[str, Any]:
    ((_,), schemas) = msgspec.json.schema_components([kind])
    return {
        "summary": (kind.__doc__ or "").split(": ", 1)[1],
        "requestBody": _body(*schemas.values()),
        "responses": {"200": _content("What was found.", _as_json({"type": "object"}))}
        | _errors(400, 401, 403, 404, 408, 413, 415),
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    properties = {"object": {"const": "list"}, "data": {"type": "array", "items": item}}
    return {"type": "object", "required": ["object", "data"], "properties": properties}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _as_json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": _as_json(schema)}


def _content(what: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": content}


def _get(
    what: str, schema: dict[str, Any] | None, *kinds: str, errors: tuple[int, ...] = ()
) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "string"}} for kind in kinds}
    if schema is not None:
        content |= _as_json(schema)
    return {
        "summary": what,
        "responses": {"200": _content(what, content)} | _errors(400, 401, 403, 404, 408, *errors),
    }


def _change(what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Describe what only the page does, or a client with a key."""
    answers = {"200": _content("What there is now.", _as_json(OBJECT))}
    answers |= _errors(400, 401, 403, 404, 408, 409, 413, 415, 503)
    return {"summary": what, "responses": answers} | ({"requestBody": body} if body else {})


def _errors(*statuses: int) -> dict[str, Any]:
    answer = _content("An error.", _as_json(_ref("Error")))
    return {str(status): answer for status in statuses}
