"""OBS's multitrack client configuration: it asks what to encode and where to send it.

The form is that of OBS's "GoLive" API, schema version 2024-06-04. The answer has the size that OBS
composes and, for every rung of the ladder below it, a track of its own, so that the server has nothing
to encode. An error is told in `status`, which OBS shows; to it any other answer is a broken server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from commerce.ids import new_id, utc_ms
from mediaserver.access import Access, split_key
from mediaserver.api.limits import AddressLimiter
from mediaserver.api.operation import operation
from mediaserver.api.pages import host_name
from mediaserver.api.preconditions import NO_STORE
from mediaserver.api.problem import read_json
from mediaserver.errors import PeerError, Unauthorized

SCHEMA_VERSION = "2024-06-04"
NVIDIA = 0x10DE  # PCI vendor
NVENC_IN_LIBOBS = 31  # the version of OBS from which on its NVENC has another name
MAX_TRACKS = 6  # of one multitrack FLV
MAX_HEIGHT = 1080  # of the shorter side: a shop's hands and labels need no more
MIN_KBPS = 100
TOP_BITS_PER_PIXEL = 0.075  # of a frame: 4.7 Mbit/s for 1080p at 30 frames/s
KEYFRAME_S = 2
AUDIO_KBPS = 160
Rung = tuple[int, int]  # shorter side, kbit/s


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Framerate(_Tolerant):
    numerator: int = Field(30, ge=1, le=240_000)
    denominator: int = Field(1, ge=1, le=1001)


class Preferences(_Tolerant):
    """What OBS composes, and what its user allows."""

    width: int = Field(1920, ge=16, le=16_384)
    height: int = Field(1080, ge=16, le=16_384)
    framerate: Framerate = Framerate()
    maximum_aggregate_bitrate: int | None = Field(None, ge=0, description="kbit/s")
    maximum_video_tracks: int | None = Field(None, ge=0)


class Gpu(_Tolerant):
    vendor_id: int = 0


class Capabilities(_Tolerant):
    gpu: list[Gpu] | None = None


class Client(_Tolerant):
    version: str = Field("", max_length=64)


class ClientConfigurationRequest(_Tolerant):
    """What OBS sends; members that don't matter here are let pass."""

    authentication: str = Field("", max_length=512, description="the stream key")
    client: Client = Client()
    capabilities: Capabilities = Capabilities()
    preferences: Preferences = Preferences()


class ClientConfiguration(BaseModel):
    meta: dict[str, str]
    status: dict[str, str | None]
    ingest_endpoints: list[dict[str, Any]]
    encoder_configurations: list[dict[str, Any]]
    audio_configurations: dict[str, list[dict[str, Any]]]


class ObsApi:
    """Handler of `/v1/obs/client-configuration`."""

    def __init__(
        self,
        access: Access,
        limiter: AddressLimiter,
        ladder: Sequence[Rung],
        servers: Callable[[str], dict[str, str]],
    ) -> None:
        """`servers` gives, for a host name, the URLs of `RTMP` and `RTMPS` that are served."""
        self._access = access
        self._limiter = limiter
        self._ladder = ladder
        self._servers = servers

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/obs/client-configuration", self._configure)]

    @operation(
        "Tell OBS what to encode and where to send it",
        "media",
        body=ClientConfigurationRequest,
        reply=ClientConfiguration,
        errors={429: "too_many"},
        description="For OBS's multitrack video: the URL goes into the service's "
        "`multitrack_video_configuration_url`, as the profile of the studio has it. A key that is "
        "not valid is told in `status`.",
    )
    async def _configure(self, request: web.Request) -> web.Response:
        self._limiter.check(request.remote)
        wanted = await read_json(request, ClientConfigurationRequest)
        try:
            await self._access.publish(split_key(wanted.authentication)[0])
        except PeerError as refusal:
            if refusal.status != Unauthorized.status:
                raise
            words = "The stream key is not valid: copy it from the studio into Settings, Stream."
            return _reply({"result": "error", "html_en_us": words})
        endpoints = [
            {"protocol": protocol, "url_template": f"{url}/{{stream_key}}"}
            for protocol, url in self._servers(host_name(request.host)).items()
        ]
        status = {"result": "success", "html_en_us": None}
        return _reply(status, endpoints, tracks(wanted, self._ladder))


def tracks(wanted: ClientConfigurationRequest, ladder: Sequence[Rung]) -> list[dict[str, Any]]:
    """Encoders, the largest picture first: what OBS composes, and the rungs below it that fit."""
    preferences = wanted.preferences
    rate = preferences.framerate.numerator / preferences.framerate.denominator
    top = min(preferences.width, preferences.height, MAX_HEIGHT)
    width, height = _size(preferences, top)
    rungs = [(top, round(width * height * rate * TOP_BITS_PER_PIXEL / 1000))]
    rungs += sorted(
        (rung for rung in ladder if rung[0] < top and rung[1] < rungs[0][1]), reverse=True
    )
    most = min(MAX_TRACKS, preferences.maximum_video_tracks or MAX_TRACKS)
    budget = preferences.maximum_aggregate_bitrate or sum(kbps for _, kbps in rungs)
    chosen: list[Rung] = []
    for side, kbps in rungs[:most]:
        left = budget - sum(taken for _, taken in chosen)
        if chosen and kbps > left:
            continue
        chosen.append((side, max(MIN_KBPS, min(kbps, left))))
    return [_encoder(wanted, side, kbps) for side, kbps in chosen]


def _size(preferences: Preferences, side: int) -> tuple[int, int]:
    """Width and height, even, of the canvas with its shorter side made `side`."""
    shorter = min(preferences.width, preferences.height)
    return preferences.width * side // shorter & ~1, preferences.height * side // shorter & ~1


def _encoder(wanted: ClientConfigurationRequest, side: int, kbps: int) -> dict[str, Any]:
    preferences = wanted.preferences
    width, height = _size(preferences, side)
    name, own = _kind(wanted)
    return {
        "type": name,
        "width": width,
        "height": height,
        "framerate": preferences.framerate.model_dump(),
        "gpu_scale_type": "OBS_SCALE_BICUBIC",
        "colorspace": "VIDEO_CS_709",
        "range": "VIDEO_RANGE_PARTIAL",
        "format": "VIDEO_FORMAT_NV12",
        "settings": {
            "rate_control": "CBR",
            "bitrate": kbps,
            "keyint_sec": KEYFRAME_S,
            "profile": "main",
            "bf": 0,  # which browsers can't show
            **own,
        },
    }


def _kind(wanted: ClientConfigurationRequest) -> tuple[str, dict[str, object]]:
    """The encoder's name in that OBS, and its own settings."""
    if not any(gpu.vendor_id == NVIDIA for gpu in wanted.capabilities.gpu or ()):
        return "obs_x264", {"preset": "veryfast", "tune": "zerolatency"}
    major = wanted.client.version.partition(".")[0]
    new = major.isdigit() and int(major) >= NVENC_IN_LIBOBS
    settings = {"preset": "p4", "tune": "ull", "multipass": "disabled", "lookahead": False}
    return "obs_nvenc_h264_tex" if new else "jim_nvenc", settings


def _reply(
    status: dict[str, str | None],
    endpoints: Sequence[dict[str, Any]] = (),
    encoders: Sequence[dict[str, Any]] = (),
) -> web.Response:
    audio = {
        "codec": "ffmpeg_aac",
        "track_id": 1,
        "channels": 2,
        "settings": {"bitrate": AUDIO_KBPS},
    }
    body = {
        "meta": {
            "service": "Hawker",
            "schema_version": SCHEMA_VERSION,
            "config_id": new_id("cfg", utc_ms()),
        },
        "status": status,
        "ingest_endpoints": [*endpoints],
        "encoder_configurations": [*encoders],
        "audio_configurations": {"live": [audio] if encoders else []},
    }
    return web.json_response(body, headers=NO_STORE)
