"""/metrics as Prometheus reads it."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from mediaserver.api.metrics import Metrics


async def scrape(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    app = web.Application()
    app.add_routes(metrics.routes())
    async with TestClient(TestServer(app)) as client:
        response = await client.get("/metrics")
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_figures_are_read_when_asked_for() -> None:
    metrics = Metrics()
    viewers = {"webrtc": 2, "hls": 1}
    metrics.gauge("hawker_streams", "Live streams.", lambda: 3)
    metrics.gauge("hawker_viewers", "Viewers.", lambda: viewers, ["protocol"])
    metrics.counter("hawker_rtp_packets_sent_total", "Packets.", lambda: 10)
    seen = await scrape(metrics)
    assert seen["hawker_streams", ()] == 3
    assert seen["hawker_viewers", (("protocol", "webrtc"),)] == 2
    assert seen["hawker_rtp_packets_sent_total", ()] == 10
    viewers["webrtc"] = 5
    assert (await scrape(metrics))["hawker_viewers", (("protocol", "webrtc"),)] == 5


async def test_several_labels_and_none_at_all() -> None:
    metrics = Metrics()
    metrics.counter(
        "hawker_bytes_total", "Bytes.", lambda: {("webrtc", "out"): 7}, ["protocol", "way"]
    )
    metrics.gauge("hawker_empty", "Nothing yet.", dict, ["protocol"])
    seen = await scrape(metrics)
    assert seen["hawker_bytes_total", (("protocol", "webrtc"), ("way", "out"))] == 7
    assert not [name for name, _ in seen if name == "hawker_empty"]


async def test_the_process_is_measured() -> None:
    seen = await scrape(Metrics())
    assert seen["process_resident_memory_bytes", ()] > 1_000_000


def test_two_servers_in_one_process_do_not_share_figures() -> None:
    first, second = Metrics(), Metrics()
    first.gauge("hawker_streams", "Live streams.", lambda: 1)
    second.gauge("hawker_streams", "Live streams.", lambda: 2)
    assert b"hawker_streams 1.0" in first.render()
    assert b"hawker_streams 2.0" in second.render()


def test_a_name_is_taken_once_and_a_counter_says_so_in_its_name() -> None:
    metrics = Metrics()
    metrics.gauge("hawker_streams", "Live streams.", lambda: 1)
    with pytest.raises(ValueError, match="already"):
        metrics.gauge("hawker_streams", "Again.", lambda: 1)
    with pytest.raises(ValueError, match="_total"):
        metrics.counter("hawker_packets", "Packets.", lambda: 1)
