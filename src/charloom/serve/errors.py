"""What is answered to a request that cannot be served: an error in OpenAI's form."""

from typing import Any

import msgspec

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
RETRY = "retry-after"


class Refused(Exception):  # noqa: N818 -- it is an answer
    """A request is answered with this status, message and code; `param` names the field at fault.

    `retry` is after how many seconds it may be sent again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        retry: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = {} if retry is None else {RETRY: str(retry)}
        if status == 401:
            self.headers["www-authenticate"] = "Bearer"

    def body(self) -> dict[str, Any]:
        """Return what is answered, in OpenAI's form."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "")
        kind = kind or "invalid_request_error"
        told = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": told}

    def encoded(self) -> bytes:
        """Return the body as JSON."""
        return msgspec.json.encode(self.body())
