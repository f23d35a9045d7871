"""The ingest doctor: what is wrong with a stream, in words, and what to change in OBS.

It looks at every published stream once a second; a notice stays until the publisher comes again.
"""

from __future__ import annotations

import asyncio

from mediaserver.hub import Hub, Notice, Stream

LOOK_S = 1.0

HAS_B_FRAMES = Notice(
    "HasBFrames",
    "warning",
    {
        "en": "The stream has B-frames, which browsers can't show without delay. The server encodes "
        "the picture anew for them, somewhat less sharp; without its transcoder viewers watch by HLS.",
        "zh": "直播流含有 B 帧，浏览器无法低延迟播放。服务器会为其重新编码，画质略有下降；"
        "若未启用转码，观众将通过 HLS 观看。",
    },
    {
        "en": "In OBS: Settings, Output, Output Mode Advanced, Streaming: set B-frames to 0 "
        "(x264: Tune zerolatency does it too), then start streaming again.",
        "zh": "在 OBS 中：设置 → 输出 → 输出模式选“高级” → 推流：把 B 帧设为 0"
        "（x264 也可将 Tune 设为 zerolatency），然后重新开始推流。",
    },
)
CLOCK_JUMP = Notice(
    "ClockJump",
    "warning",
    {
        "en": "The publisher's clock jumped; the server closed the gap so that viewers go on.",
        "zh": "推流端的时钟发生跳变；服务器已将其接续，观众可继续观看。",
    },
    {
        "en": "If it comes back, check the audio device's sample rate in OBS (48 kHz) and whether "
        "the machine is overloaded.",
        "zh": "如果反复出现，请检查 OBS 音频设备的采样率（48 kHz）以及电脑是否过载。",
    },
)
NO_HLS_FOR_VP8 = Notice(
    "NoHlsForVp8",
    "warning",
    {
        "en": "The picture is VP8, which HLS can't carry: viewers who watch by HLS get the sound "
        "alone.",
        "zh": "画面使用 VP8 编码，HLS 无法承载：通过 HLS 观看的观众只能听到声音。",
    },
    {
        "en": "Publish H.264 instead: in OBS choose an H.264 video encoder, in a WebRTC client put "
        "H.264 first among its codecs, then start again.",
        "zh": "请改用 H.264 推流：在 OBS 中选择 H.264 视频编码器；在 WebRTC 客户端中把 H.264 "
        "排在编码器首位，然后重新开始推流。",
    },
)


class Doctor:
    """From `start` to `close` it looks by itself."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        for name, stream in self._hub.streams.items():
            if stream.live and "/" not in name:
                examine(stream)
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.start)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def examine(stream: Stream) -> None:
    """Put on the stream the notices that apply to it now."""
    if stream.reordered:
        stream.notice(HAS_B_FRAMES)
    if stream.timeline.jumps:
        stream.notice(CLOCK_JUMP)
    video = stream.tracks.get("video")
    if video is not None and video.codec == "vp8":
        stream.notice(NO_HLS_FOR_VP8)
