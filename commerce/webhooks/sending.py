"""One try of a delivery over HTTP: a POST that follows no redirect and reads little of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from commerce.webhooks.retries import Answer
from commerce.webhooks.target import GuardedResolver, IsPublic, LookUp, UnusableTarget, checked_url

TIMEOUT_S = 20.0
CONNECTIONS_EACH = (
    8  # to one host and port; the relay has no more deliveries of an endpoint on the way
)
ANSWER_BYTES = 4_096  # enough to use the connection again after a usual answer
ERROR_CHARS = 200
HEADERS = {"Content-Type": "application/json", "User-Agent": "Hawker-Webhooks/1"}


class Sender:
    """Sends from `open` to `close`; `look_up` resolves names, by the system's resolver if not given."""

    def __init__(
        self,
        *,
        allow_private: bool,
        is_public: IsPublic,
        timeout_s: float = TIMEOUT_S,
        look_up: LookUp | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._is_public = is_public
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._look_up = look_up
        self._http: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """In the running loop."""
        resolver = GuardedResolver(
            allow_private=self._allow_private, is_public=self._is_public, look_up=self._look_up
        )
        connector = aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, limit=0, limit_per_host=CONNECTIONS_EACH
        )
        self._http = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What became of it; raises nothing that the other side can cause."""
        assert self._http is not None
        try:
            # Addresses in numbers are not resolved, and the configuration may have changed since.
            checked_url(url, allow_private=self._allow_private, is_public=self._is_public)
            async with self._http.post(
                url, data=body, headers={**HEADERS, **headers}, allow_redirects=False
            ) as reply:
                with suppress(aiohttp.ClientError, TimeoutError):  # the status is what counts
                    await reply.content.read(ANSWER_BYTES)
                return Answer(reply.status, "", _retry_after_ms(reply.headers))
        except UnusableTarget as error:
            return Answer(None, error.detail[:ERROR_CHARS])
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(None, _in_words(error))


def _in_words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    return (str(error) or type(error).__name__)[:ERROR_CHARS]


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """The header in seconds (RFC 9110 §10.2.3); as a date it is not read."""
    text = headers.get("Retry-After", "")
    return int(text) * 1000 if text.isascii() and text.isdigit() and len(text) < 10 else None
