"""The ingest doctor's notices."""

from __future__ import annotations

import logging

import pytest

from mediaserver.api.ingest import IngestMeter, describe
from mediaserver.hub import Hub
from mediaserver.ingest.doctor import examine
from mediaserver.media import Codec
from tests.protocol import encoded


def published(codec: Codec) -> tuple[Hub, dict[str, object]]:
    """A stream of one keyframe, examined twice, and its ingest document."""
    hub = Hub()
    publication = hub.publish("show", protocol="whip", remote="", on_close=lambda reason: None)
    packet = encoded.packets(codec)[0]
    publication.write(packet.track, 0, packet.payload, keyframe=True, arrival=0.0)
    stream = publication.stream
    for _ in range(2):
        examine(stream)
    return hub, describe("show", stream, IngestMeter(hub))


async def test_the_host_is_told_once_that_vp8_has_no_hls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        hub, document = published("vp8")
    [notice] = document["notices"]  # type: ignore[misc]
    assert notice["code"] == "NoHlsForVp8"
    assert set(notice["text"]) == set(notice["fix"]) == {"en", "zh"}
    assert [record.message for record in caplog.records] == ["stream show: NoHlsForVp8"]
    hub.drain()


@pytest.mark.parametrize("codec", ["h264", "h265", "vp8", "vp9", "av1"])
async def test_the_ingest_document_names_every_codec_and_its_size(codec: Codec) -> None:
    hub, document = published(codec)
    assert document["codecs"] == {"video": codec}
    assert document["resolution"] == "{}x{}".format(*encoded.SIZE)
    assert document["frame_rate"] == (30.0 if codec == "h264" else None)
    assert bool(document["notices"]) == (codec == "vp8")
    hub.drain()
