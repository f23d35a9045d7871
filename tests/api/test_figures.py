"""The figures of several processes as one, and what /metrics makes of them."""

from __future__ import annotations

from mediaserver.api import figures
from mediaserver.api.metrics import Metrics
from mediaserver.egress.figures import Figures, add
from mediaserver.hub import Hub

FIRST = Figures(
    {"show": 2, "other": 1},
    4,
    {"min": 5e5, "median": 2e6},
    {"packets": 10, "dropped bad_stun": 1, "pass_s": 0.5},
)
SECOND = Figures({"show": 3}, 3, {"min": 7e5, "median": 9e5}, {"packets": 5, "pass_s": 0.25})


def test_figures_of_processes_add_up() -> None:
    both = add([FIRST, SECOND, Figures()])
    assert both.viewers == {"show": 5, "other": 1}
    assert both.sessions == 7
    assert both.estimates == {"min": 5e5, "median": 9e5}
    assert both.counters == {"packets": 15, "dropped bad_stun": 1, "pass_s": 0.75}
    assert add([]) == Figures()


def test_the_metrics_show_them_and_zero_for_what_nobody_counted() -> None:
    metrics = Metrics()
    figures.add_media(metrics, Hub(), lambda: add([FIRST, SECOND]))
    lines = metrics.render().decode().splitlines()
    assert "hawker_webrtc_sessions 7.0" in lines
    assert "hawker_rtp_packets_sent_total 15.0" in lines
    assert "hawker_rtp_retransmissions_total 0.0" in lines
    assert 'hawker_datagrams_dropped_total{reason="bad_stun"} 1.0' in lines
    assert 'hawker_datagrams_dropped_total{reason="other"} 0.0' in lines
    assert 'hawker_viewer_bandwidth_bps{of="min"} 500000.0' in lines
