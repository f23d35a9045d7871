"""A room's scheduled channel over HTTP: files that are played as live while no host is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Protocol

from aiohttp import web
from pydantic import AwareDatetime, Field

from commerce.errors import NotFound
from commerce.timestamps import rfc3339
from mediaserver.api.auth import require
from mediaserver.api.operation import operation
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.api.strict import Strict
from mediaserver.ingest.channel import Channels, Status

TAG = "rooms"
PATH = "/v1/rooms/{room}/channel"
FIRST, LAST = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 1, 1, tzinfo=UTC),
)  # of RFC 3339, in UTC


class ChannelPlan(Protocol):
    """`overlay.channel_plans.ChannelPlan`."""

    @property
    def room(self) -> str: ...
    @property
    def files(self) -> tuple[str, ...]: ...
    @property
    def loop(self) -> bool: ...
    @property
    def starts_at_ms(self) -> int | None: ...


class ChannelPlans(Protocol):
    """`overlay.channel_plans.ChannelPlans`; `make` builds a plan of its own kind."""

    async def put(self, plan: Any) -> None: ...
    async def get(self, room: str) -> ChannelPlan: ...
    async def delete(self, room: str) -> None: ...
    async def all(self) -> Sequence[ChannelPlan]: ...


class NewChannel(Strict):
    """Files by their names in the channels' folder, in the order in which they play."""

    files: Annotated[list[str], Field(min_length=1, max_length=1000)]
    loop: bool = False
    starts_at: Annotated[AwareDatetime, Field(ge=FIRST, lt=LAST)] | None = None


class ChannelDocument(Strict):
    """`item` is the place in `files` of what plays; `problem`: what could not be played last.

    `state` is null where the room has no channel; `available` are the files there are to choose from.
    """

    room: str
    files: list[str]
    loop: bool
    starts_at: str | None
    state: Literal["waiting", "playing", "ended"] | None
    item: int | None
    problem: str | None
    available: list[str]


class ChannelApi:
    """Handlers of `/v1/rooms/{room}/channel`."""

    def __init__(
        self,
        plans: ChannelPlans,
        channels: Channels,
        plan: Callable[[str, tuple[str, ...], bool, int | None], ChannelPlan],
    ) -> None:
        """`plan` makes a plan to be kept, of room, files, loop and start in UTC ms."""
        self._plans = plans
        self._channels = channels
        self._plan = plan

    def routes(self) -> list[web.RouteDef]:
        return [
            web.put(PATH, self._put),
            web.get(PATH, self._get),
            web.delete(PATH, self._delete),
        ]

    @operation(
        "Play files on a room, in place of what its channel plays",
        TAG,
        auth="rooms.write",
        body=NewChannel,
        reply=ChannelDocument,
        errors={404: "room_not_found", 422: "invalid"},
        description="A host who goes live is on the air at once; the channel goes on behind him. Files: "
        "H.264 or H.265 with AAC or Opus, in MP4, MOV, MKV or FLV.",
    )
    async def _put(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, "rooms.write", room=room)
        wanted = await read_json(request, NewChannel)
        self._channels.check(wanted.files)
        plan = self._plan(room, tuple(wanted.files), wanted.loop, _utc_ms(wanted.starts_at))
        await self._plans.put(plan)
        await play(self._channels, plan)
        return self._reply(room, plan)

    @operation(
        "See a room's channel, and the files there are",
        TAG,
        auth="rooms.inspect",
        reply=ChannelDocument,
        errors={404: "room_not_found"},
    )
    async def _get(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, "rooms.inspect", room=room)
        return self._reply(room, await self._planned(room))

    @operation(
        "End a room's channel",
        TAG,
        auth="rooms.write",
        status=204,
        errors={404: "room_not_found channel_not_found"},
    )
    async def _delete(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        await require(request, "rooms.write", room=room)
        await self._plans.delete(room)
        await self._channels.stop(room)
        return web.Response(status=204, headers=NO_STORE)

    async def _planned(self, room: str) -> ChannelPlan | None:
        try:
            return await self._plans.get(room)
        except NotFound as error:
            if error.code != "channel_not_found":
                raise
            return None

    def _reply(self, room: str, plan: ChannelPlan | None) -> web.Response:
        body = {"room": room, **self._planned_members(room, plan)}
        body["available"] = self._channels.available()
        return web.json_response(body, headers=NO_STORE)

    def _planned_members(self, room: str, plan: ChannelPlan | None) -> dict[str, object]:
        if plan is None:
            nothing = dict.fromkeys(("starts_at", "state", "item", "problem"))
            return {"files": [], "loop": False, **nothing}
        status = self._channels.status(room) or Status("ended")
        starts_at_ms = plan.starts_at_ms
        return {
            "files": [*plan.files],
            "loop": plan.loop,
            "starts_at": None if starts_at_ms is None else rfc3339(starts_at_ms),
            "state": status.state,
            "item": status.item,
            "problem": status.problem,
        }


async def play(channels: Channels, plan: ChannelPlan) -> None:
    """Play what is planned."""
    starts_at_s = None if plan.starts_at_ms is None else plan.starts_at_ms / 1000
    await channels.play(plan.room, plan.files, loop=plan.loop, starts_at_s=starts_at_s)


async def play_all(channels: Channels, plans: ChannelPlans) -> None:
    """At the start of the server: what was planned before."""
    for plan in await plans.all():
        await play(channels, plan)


def _utc_ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)
