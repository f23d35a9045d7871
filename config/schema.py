"""Every setting: its section, type, bounds and default. Unknown keys are refused.

`default.toml` holds the same keys and values, each with its comment; a test compares the two.
Values are strict (`"8080"` is no port, `1` is no boolean), so that a typing error never becomes
another setting. A validator's message says what is allowed, not what is wrong.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

PLAYLIST_SEGMENTS = 3  # a live playlist holds no less than three target durations (RFC 8216 §6.2.2)
MAX_RUNGS = 8  # a player's menu of qualities
MAX_WORKERS = 64  # more cores than one publisher's machine has, and as many UDP ports
SQLITE = "sqlite:"
REDIS = ("redis://", "rediss://", "redis+cluster://", "rediss+cluster://")
DATABASE = "hawker.db"

Port = Annotated[int, Field(ge=0, le=65535)]
OptionalPort = Annotated[int, Field(ge=-1, le=65535)]
Count = Annotated[int, Field(ge=1)]
Host = Annotated[str, Field(min_length=1)]


Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Http(Section):
    host: Host = "0.0.0.0"
    port: Port = 8080
    https_port: OptionalPort = 8443
    tls_cert: str = ""
    tls_key: str = Field(default="", validate_default=True)
    trusted_proxies: tuple[str, ...] = Field(default=(), strict=False)

    @field_validator("tls_key")
    @classmethod
    def _goes_with_the_certificate(cls, key: str, info: ValidationInfo) -> str:
        if bool(key) != bool(info.data.get("tls_cert")):
            raise ValueError("http.tls_cert and http.tls_key together, or neither")
        return key

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ip_network(network)) for network in networks)
        except ValueError:
            raise ValueError('a list of addresses or networks, such as ["127.0.0.1"]') from None


class Rtmp(Section):
    host: Host = "0.0.0.0"
    port: Port = 1935


class Rtmps(Section):
    port: OptionalPort = 1936


class Webrtc(Section):
    host: Host = "::"
    port: Port = 8189
    public_addresses: tuple[str, ...] = Field(default=(), strict=False)

    @field_validator("public_addresses")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ip_address(address)) for address in addresses)
        except ValueError:
            allowed = 'a list of IPv4 and IPv6 addresses, such as ["203.0.113.7", "2001:db8::7"]'
            raise ValueError(allowed) from None


class Srt(Section):
    host: Host = "0.0.0.0"
    port: Port = 8890
    passphrase: SecretStr = SecretStr("")
    latency_ms: Annotated[int, Field(ge=20, le=8000)] = 120

    @field_validator("passphrase")
    @classmethod
    def _is_taken_by_srt(cls, passphrase: SecretStr) -> SecretStr:
        text = passphrase.get_secret_value()
        if text and not (10 <= len(text) <= 79 and all(" " <= each <= "~" for each in text)):
            raise ValueError("10 to 79 characters of printable ASCII, or empty")
        return passphrase


class Data(Section):
    dir: Path = Field(default=Path("data"), strict=False)


class Auth(Section):
    admin_token: SecretStr = SecretStr("")
    viewer_secret: SecretStr = SecretStr("")

    @field_validator("admin_token")
    @classmethod
    def _fits_a_header(cls, token: SecretStr) -> SecretStr:
        if not all("!" <= character <= "~" for character in token.get_secret_value()):
            raise ValueError("printable ASCII without spaces, or empty")
        return token


class Hls(Section):
    segment_ms: Annotated[int, Field(ge=500, le=30_000)] = 2000
    window_s: Annotated[int, Field(ge=2, le=86_400)] = Field(default=60, validate_default=True)

    @field_validator("window_s")
    @classmethod
    def _holds_a_playlist(cls, window_s: int, info: ValidationInfo) -> int:
        segment_ms = info.data.get("segment_ms", 0)
        if window_s * 1000 < PLAYLIST_SEGMENTS * segment_ms:
            raise ValueError(f"at least {PLAYLIST_SEGMENTS} segments of {segment_ms} ms")
        return window_s


class Channel(Section):
    dir: str = ""

    def folder(self, data: Path) -> Path:
        """Where the files are that rooms may play."""
        return Path(self.dir) if self.dir else data / "media"


class Slate(Section):
    enabled: bool = True
    picture: str = ""

    @field_validator("picture")
    @classmethod
    def _is_a_file(cls, picture: str) -> str:
        if picture and not Path(picture).is_file():
            raise ValueError("the path of a picture (JPEG or PNG), or empty")
        return picture

    @property
    def path(self) -> Path | None:
        """None for the built-in picture."""
        return Path(self.picture) if self.picture else None


class Rung(Section):
    height: Annotated[int, Field(ge=16, le=4320)]
    bitrate_kbps: Annotated[int, Field(ge=50, le=100_000)]
    fps: Annotated[float, Field(ge=0, le=240)] = 0.0
    preset: Preset = "veryfast"


DEFAULT_LADDER = (
    Rung(height=720, bitrate_kbps=2500),
    Rung(height=480, bitrate_kbps=1200),
    Rung(height=360, bitrate_kbps=600),
)


class Transcode(Section):
    enabled: bool = True
    mode: Literal["on_demand", "always"] = "on_demand"
    threads: Annotated[int, Field(ge=0, le=64)] = 0
    ladder: tuple[Rung, ...] = Field(default=DEFAULT_LADDER, max_length=MAX_RUNGS, strict=False)

    @field_validator("ladder", mode="wrap")
    @classmethod
    def _is_rungs(cls, ladder: object, rungs: ValidatorFunctionWrapHandler) -> tuple[Rung, ...]:
        try:
            return tuple(rungs(ladder))
        except ValidationError:
            allowed = f"a list of up to {MAX_RUNGS} such as {{ height = 720, bitrate_kbps = 2500 }}"
            raise ValueError(allowed) from None


class Restream(Section):
    allow_private: bool = False


class Webhooks(Section):
    allow_private: bool = False


class Store(Section):
    url: str = f"{SQLITE}data/{DATABASE}"
    replicas: Annotated[int, Field(ge=0, le=10)] = 0
    allow_unsafe: bool = False

    @field_validator("url")
    @classmethod
    def _is_a_store(cls, url: str) -> str:
        scheme = next((each for each in (SQLITE, *REDIS) if url.startswith(each)), "")
        if not scheme or url == scheme:
            raise ValueError(f'"{SQLITE}PATH" or "{REDIS[0]}HOST"')
        return url

    @property
    def in_redis(self) -> bool:
        return self.url.startswith(REDIS)

    @property
    def sqlite_path(self) -> Path:
        """Where the SQLite file is, as written: a relative path starts at the working directory."""
        return Path(self.url.removeprefix(SQLITE))


class Archive(Section):
    after_days: Annotated[float, Field(ge=0, le=36_500)] = 90.0
    events_kept_days: Annotated[float, Field(ge=0, le=36_500)] = 30.0


class Payments(Section):
    provider: Literal["sandbox", "stripe"] = "sandbox"
    pending_max_s: Annotated[float, Field(ge=60, le=86_400)] = 900.0
    stripe_api_key: SecretStr = SecretStr("")
    stripe_webhook_secret: SecretStr = SecretStr("")
    return_url: str = ""

    @model_validator(mode="after")
    def _stripe_has_what_it_needs(self) -> Payments:
        keys = (self.stripe_api_key, self.stripe_webhook_secret)
        known = all(each.get_secret_value() for each in keys)
        if self.provider == "stripe" and not (known and self.return_url.startswith("https://")):
            raise ValueError(
                "stripe wants stripe_api_key, stripe_webhook_secret and an https return_url"
            )
        return self


class Returns(Section):
    window_days: Annotated[float, Field(ge=0, le=3650)] = 7.0


class Chat(Section):
    slow_mode_s: Annotated[float, Field(ge=0, le=3600)] = 1.0


class Demo(Section):
    enabled: bool = False


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Limits(Section):
    publisher_grace_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    publisher_bitrate_kbps: Count = 20_000
    rtmp_connections: Count = 2000
    webrtc_sessions: Count = 5000
    webrtc_sessions_per_address: Count = 500
    room_viewers: Count = 5000
    posts_per_minute: Count = 6000
    orders_per_minute: Count = 60_000
    reservation_s: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    order_lines: Annotated[int, Field(ge=1, le=100)] = 50
    order_quantity: Annotated[int, Field(ge=1, le=10_000)] = 99
    restream_targets: Annotated[int, Field(ge=0, le=100)] = 10
    webhook_endpoints: Annotated[int, Field(ge=0, le=100)] = 20


class Config(Section):
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = 1
    http: Http = Http()
    rtmp: Rtmp = Rtmp()
    rtmps: Rtmps = Rtmps()
    webrtc: Webrtc = Webrtc()
    srt: Srt = Srt()
    data: Data = Data()
    auth: Auth = Auth()
    hls: Hls = Hls()
    slate: Slate = Slate()
    channel: Channel = Channel()
    transcode: Transcode = Transcode()
    restream: Restream = Restream()
    webhooks: Webhooks = Webhooks()
    store: Store = Store()
    archive: Archive = Archive()
    payments: Payments = Payments()
    returns: Returns = Returns()
    chat: Chat = Chat()
    demo: Demo = Demo()
    log: Log = Log()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _default_store_is_in_the_data_directory(self) -> Config:
        if self.store == Store() and self.data != Data():
            url = f"{SQLITE}{self.data.dir / DATABASE}"
            object.__setattr__(self, "store", Store(url=url))  # frozen for everybody else
        return self
