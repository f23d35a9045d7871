"""What the doctor says: each finding with its words, and what to change, in English and Chinese."""

from __future__ import annotations

from mediaserver.hub import Notice

OBS_OUTPUT = "In OBS: Settings, Output, Output Mode Advanced, Streaming"
OBS_OUTPUT_ZH = "在 OBS 中：设置 → 输出 → 输出模式选“高级” → 推流"

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
        "en": f"{OBS_OUTPUT}: set B-frames to 0 "
        "(x264: Tune zerolatency does it too), then start streaming again.",
        "zh": f"{OBS_OUTPUT_ZH}：把 B 帧设为 0"
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
NO_AUDIO = Notice(
    "NoAudio",
    "warning",
    {
        "en": "There is no sound in the stream: viewers hear nothing.",
        "zh": "直播流中没有声音：观众听不到任何内容。",
    },
    {
        "en": "In OBS: Settings, Audio: choose a Mic/Auxiliary device, and see that the mixer moves "
        "when you speak; Settings, Output: at least one audio track must be ticked.",
        "zh": "在 OBS 中：设置 → 音频：选择麦克风/辅助音频设备，并确认说话时混音器有跳动；"
        "设置 → 输出：至少勾选一条音轨。",
    },
)
NO_VIDEO = Notice(
    "NoVideo",
    "warning",
    {
        "en": "There is no picture in the stream: viewers hear you and see nothing.",
        "zh": "直播流中没有画面：观众只能听到声音。",
    },
    {
        "en": "In OBS: see that the scene has a source and that the video encoder starts (Help, Log "
        "Files); on a phone allow the camera.",
        "zh": "在 OBS 中：确认场景中有来源，并且视频编码器已启动（帮助 → 日志文件）；"
        "手机请允许使用摄像头。",
    },
)
UNUSUAL_PIXEL_FORMAT = Notice(
    "UnusualPixelFormat",
    "warning",
    {
        "en": "The picture has a colour format (10 bits, 4:2:2 or 4:4:4) that many players don't know. "
        "WebRTC viewers get it encoded anew; players of HLS may stay black.",
        "zh": "画面的颜色格式（10 位、4:2:2 或 4:4:4）许多播放器不支持。"
        "WebRTC 观众会收到重新编码的画面；HLS 播放器可能黑屏。",
    },
    {
        "en": "In OBS: Settings, Advanced, Video: Color Format NV12; then start streaming again.",
        "zh": "在 OBS 中：设置 → 高级 → 视频：颜色格式选 NV12，然后重新开始推流。",
    },
)
NOT_EVERY_BROWSER = Notice(
    "NotEveryBrowser",
    "info",
    {
        "en": "The picture is H.265, which not every browser shows. Who can't take it gets H.264, "
        "encoded by the server.",
        "zh": "画面使用 H.265 编码，并非所有浏览器都支持。无法播放者将收到服务器转码的 H.264。",
    },
    {
        "en": f"{OBS_OUTPUT}: an H.264 video encoder spares the server that work.",
        "zh": f"{OBS_OUTPUT_ZH}：改用 H.264 视频编码器可免去服务器转码。",
    },
)

SILENT_AUDIO = Notice(
    "SilentAudio",
    "warning",
    {
        "en": "The stream has a sound track with nothing to hear on it: is the microphone muted?",
        "zh": "直播流有音轨，但一直没有声音：麦克风是否被静音？",
    },
    {
        "en": "In OBS: the loudspeaker of the microphone in the Audio Mixer must not be red (muted), "
        "and its bar must move when you speak; if not: Settings, Audio: choose the right device.",
        "zh": "在 OBS 中：混音器里麦克风的喇叭图标不能是红色（静音），说话时音量条应跳动；"
        "若没有：设置 → 音频：选择正确的设备。",
    },
)


def loudness_off(lufs: float, target_lufs: float) -> Notice:
    by_db = abs(round(target_lufs - lufs)) or 1
    low = lufs < target_lufs
    return Notice(
        "LoudnessOff",
        "warning",
        {
            "en": f"The sound is too {'quiet' if low else 'loud'}: {lufs:.0f} LUFS, and "
            f"{target_lufs:.0f} is usual.",
            "zh": f"声音太{'小' if low else '大'}：{lufs:.0f} LUFS，通常应为 {target_lufs:.0f}。",
        },
        {
            "en": f"In OBS: Audio Mixer, move the fader {'up' if low else 'down'} by {by_db} dB"
            + (
                ". Where it is at the top: the three dots, Filters, add Gain."
                if low
                else "; its bar should peak in the yellow, not in the red."
            ),
            "zh": f"在 OBS 中：混音器，把音量滑块调{'高' if low else '低'} {by_db} dB"
            + (
                "。若已到顶：点三个点 → 滤镜 → 添加“增益”。"
                if low
                else "；音量条的峰值应在黄色区域，不要到红色。"
            ),
        },
    )


def long_keyframe_interval(seconds: float) -> Notice:
    return Notice(
        "LongKeyFrameInterval",
        "warning",
        {
            "en": f"Keyframes come every {seconds:.1f} s: who joins would wait so long for a picture. "
            "The server encodes it anew for WebRTC viewers; by HLS the delay grows.",
            "zh": f"关键帧间隔为 {seconds:.1f} 秒：新观众要等这么久才能看到画面。"
            "服务器会为 WebRTC 观众重新编码；HLS 的延迟会变大。",
        },
        {
            "en": f"{OBS_OUTPUT}: Keyframe Interval 2 s, then start streaming again.",
            "zh": f"{OBS_OUTPUT_ZH}：关键帧间隔设为 2 秒，然后重新开始推流。",
        },
    )


def bitrate_over_limit(kbps: int, limit_kbps: int) -> Notice:
    return Notice(
        "BitrateOverLimit",
        "warning",
        {
            "en": f"The stream has {kbps} kbit/s, more than the {limit_kbps} this server is set up for: "
            "viewers on mobile lines will stall.",
            "zh": f"直播流码率为 {kbps} kbit/s，超过服务器设定的 {limit_kbps}：移动网络观众会卡顿。",
        },
        {
            "en": f"{OBS_OUTPUT}: Rate Control CBR, Bitrate {limit_kbps} kbit/s at most; 2,500 to 4,000 "
            "is enough for 1080p of a shop.",
            "zh": f"{OBS_OUTPUT_ZH}：速率控制选 CBR，码率不超过 {limit_kbps} kbit/s；"
            "1080p 带货直播 2500 到 4000 已足够。",
        },
    )


def frame_drops(frame_rate: float, declared: float) -> Notice:
    return Notice(
        "FrameDrops",
        "warning",
        {
            "en": f"{frame_rate:.0f} of {declared:.0f} frames a second arrive: the upload line or the "
            "encoder can't keep up.",
            "zh": f"每秒只收到 {declared:.0f} 帧中的 {frame_rate:.0f} 帧：上行网络或编码器跟不上。",
        },
        {
            "en": "In OBS look at the bottom right: 'Dropped frames' is the network: lower the bitrate "
            "or use a cable; in View, Stats, 'encoding lag' is the machine: a faster preset or a lower "
            "resolution.",
            "zh": "查看 OBS 右下角：“丢帧”是网络问题：请降低码率或改用网线；"
            "视图 → 统计中的“编码滞后”是电脑性能问题：请选更快的预设或更低的分辨率。",
        },
    )


def av_drift(milliseconds: float) -> Notice:
    return Notice(
        "AvDrift",
        "warning",
        {
            "en": f"Sound and picture have moved apart by {abs(milliseconds):.0f} ms since the start.",
            "zh": f"开播以来，声音与画面已相差 {abs(milliseconds):.0f} 毫秒。",
        },
        {
            "en": "Set the same sample rate everywhere: OBS, Settings, Audio: 48 kHz, and the same in "
            "the system's settings of the microphone; then start streaming again.",
            "zh": "请统一采样率：OBS 设置 → 音频：48 kHz，系统中麦克风的采样率也设为相同，"
            "然后重新开始推流。",
        },
    )
