"""One debug line for each request, without what the caller could put into it: no path, no query.

Paths name rooms and queries carry tokens; the route and the status say what a reader wants to know,
and figures are in /metrics.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web_request import BaseRequest

from mediaserver.api.problem import route_of


class AccessLogger(AbstractAccessLogger):
    """For `web.AppRunner(access_log_class=AccessLogger)`."""

    @property
    def enabled(self) -> bool:
        return self.logger.isEnabledFor(logging.DEBUG)

    def log(self, request: BaseRequest, response: web.StreamResponse, time: float) -> None:
        route = route_of(request) if isinstance(request, web.Request) else "no route"
        self.logger.debug(
            "%s %s %d %d bytes %.1f ms from %s",
            request.method,
            route,
            response.status,
            response.body_length,
            time * 1000,
            request.remote,
        )
