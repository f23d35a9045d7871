"""The renditions of one stream as the hub knows them: declared, wanted or not, written to.

A rendition stays wanted for LINGER_S after its last reader, so that one who leaves and one who comes
find the encoder at work. What was made before a pause is forgotten: who comes after it begins with the
first keyframe after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mediaserver.hub import Notice
from mediaserver.hub.relay import RelayClient, RelayPublication
from mediaserver.media import Packet, Track
from mediaserver.transcode.ladder import Form

LINGER_S = 10.0


@dataclass(slots=True, eq=False)
class _Offer:
    planned: Form
    form: Form  # with the bitrate that was asked for since
    track: Track
    publication: RelayPublication | None = None  # None while it is left out
    left_at: float = -LINGER_S
    begun: bool = False  # packets were written since it was declared

    def wanted(self, now: float) -> bool:
        return self.publication is not None and (
            self.publication.wanted or now - self.left_at < LINGER_S
        )


class Offers:
    """`always`: every rendition is wanted. `on_wanted` and `on_keyframe` are called when asked for."""

    def __init__(
        self,
        client: RelayClient,
        stream: str,
        *,
        always: bool,
        on_wanted: Callable[[], None],
        on_keyframe: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._stream = stream
        self._always = always
        self._on_wanted = on_wanted
        self._on_keyframe = on_keyframe
        self._clock = clock
        self._offers: dict[str, _Offer] = {}  # the dearest first

    def declare(self, forms: Sequence[tuple[Form, Track]]) -> None:
        """Offer these, the dearest first, and no others; what is offered already stays as it is."""
        before, self._offers = self._offers, {}
        for form, track in forms:
            offer = before.pop(form.suffix, None)
            if offer is None or offer.planned != form:
                publication = None if offer is None else offer.publication
                offer = _Offer(form, form, track, publication)
                self._publish(offer)
            self._offers[form.suffix] = offer
        for offer in before.values():
            self._withdraw(offer)

    def wanted(self) -> list[Form]:
        """What is to be made now, the dearest first."""
        now = self._clock()
        forms = []
        for offer in self._offers.values():
            if offer.publication is not None and (self._always or offer.wanted(now)):
                forms.append(offer.form)
            elif offer.begun:
                self._begin_anew(offer)
        return forms

    def left_out(self) -> list[Form]:
        return [offer.form for offer in self._offers.values() if offer.publication is None]

    def leave_out(self, forms: Sequence[Form]) -> None:
        """Withdraw these for now and offer all others."""
        suffixes = {form.suffix for form in forms}
        for suffix, offer in self._offers.items():
            if suffix in suffixes:
                self._withdraw(offer)
            elif offer.publication is None:
                self._publish(offer)

    async def write(self, suffix: str, packet: Packet) -> None:
        """Raises StreamEnded as RelayPublication does; what is offered no more is left out."""
        offer = self._offers.get(suffix)
        if offer is not None and offer.publication is not None:
            offer.begun, offer.track = True, packet.track
            await offer.publication.write(packet)

    def pause(self) -> None:
        """Nothing is made until the next keyframe."""
        for offer in self._offers.values():
            if offer.begun:
                self._begin_anew(offer)

    def notice(self, notice: Notice) -> None:
        """Tell the host of the stream something."""
        for offer in self._offers.values():
            if offer.publication is not None:
                return offer.publication.notice(notice)

    def close(self) -> None:
        for offer in self._offers.values():
            self._withdraw(offer)

    def _publish(self, offer: _Offer) -> None:
        if offer.publication is None:
            offer.publication = self._client.publish(self._stream, offer.form.suffix)
        publication = offer.publication
        publication.on_keyframe_request = self._on_keyframe
        publication.on_wanted = lambda wanted: self._want(offer, wanted)
        publication.on_bitrate = lambda bits_per_s: self._turn(offer, bits_per_s)
        self._begin_anew(offer)

    def _begin_anew(self, offer: _Offer) -> None:
        offer.begun = False
        if offer.publication is not None:
            offer.publication.declare(offer.track)

    def _withdraw(self, offer: _Offer) -> None:
        if offer.publication is not None:
            offer.publication.close()
        offer.publication, offer.begun = None, False

    def _want(self, offer: _Offer, wanted: bool) -> None:
        if wanted:
            self._on_wanted()
        else:
            offer.left_at = self._clock()

    def _turn(self, offer: _Offer, bits_per_s: int) -> None:
        offer.form = replace(offer.form, bits_per_s=bits_per_s)
