"""The page: static files under `/`, which may load nothing from elsewhere."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from charloom.serve.models import Models

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Static(StaticFiles):
    """Files with the policy of the page."""

    def file_response(self, *arguments, **more) -> Response:  # type: ignore[no-untyped-def]
        """Return a file."""
        response = super().file_response(*arguments, **more)
        response.headers["content-security-policy"] = POLICY
        return response


async def _index(request: Request) -> Response:
    headers = {"content-security-policy": POLICY}
    return FileResponse(STATIC / "index.html", headers=headers)


def routes(models: Models) -> list[BaseRoute]:
    """Return the routes of the page."""
    return [Route("/", _index), Mount("/static", _Static(directory=STATIC))]
