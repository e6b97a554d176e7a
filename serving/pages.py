"""The page on which one draws a digit: its files, and what a browser may do with them."""

from os import PathLike, stat_result
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # ask each time, by ETag, whether the file is still the one in the browser's cache
}


class Page(StaticFiles):
    """The page's files, each with its ETag and `HEADERS`."""

    def __init__(self) -> None:
        super().__init__(directory=Path(__file__).with_name("page"))

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """The file, or 304 where the browser has it."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response

    async def start(self, request: Request) -> Response:
        """The page itself."""
        return await self.get_response("index.html", request.scope)
