"""/healthz and /readyz, as orchestrators ask: is the process alive, can it do its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

from aiohttp import web
from pydantic import BaseModel, Field

from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import problem

log = logging.getLogger("hawker.api")

CHECK_S = 2.0  # an orchestrator gives up after 1 to 10 s

Check: TypeAlias = Callable[[], Awaitable[object]]


class Alive(BaseModel):
    status: Literal["ok"]


class Ready(Alive):
    checks: dict[str, str] = Field(description="each part: `ok`, or what is the matter with it")


class HealthApi:
    """`checks` by name: each returns when its part works and raises when it does not."""

    def __init__(self, checks: Mapping[str, Check], *, check_s: float = CHECK_S) -> None:
        self._checks = checks
        self._check_s = check_s

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self._alive), web.get("/readyz", self._ready)]

    @operation("Is the process alive", "server", reply=Alive)
    async def _alive(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, headers=NO_STORE)

    @operation("Can it do its work", "server", reply=Ready, errors={503: "not_ready"})
    async def _ready(self, request: web.Request) -> web.Response:
        outcomes = await asyncio.gather(*map(self._outcome, self._checks))
        checks = dict(zip(self._checks, outcomes, strict=True))
        failed = [name for name, outcome in checks.items() if outcome != "ok"]
        if failed:
            detail = f"not working: {', '.join(failed)}"
            return problem(503, "not_ready", "Not ready", detail, members={"checks": checks})
        return web.json_response({"status": "ok", "checks": checks}, headers=NO_STORE)

    async def _outcome(self, name: str) -> str:
        try:
            await asyncio.wait_for(self._checks[name](), self._check_s)
        except TimeoutError:
            return "timed out"
        except Exception as error:  # noqa: BLE001  whatever it is, the part does not work
            log.warning("check %s failed: %s", name, error)
            return "failed"
        return "ok"
