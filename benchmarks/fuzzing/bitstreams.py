"""Beginnings of real encoders' streams, from which inputs are made."""

from __future__ import annotations

from mediaserver.protocol.h264 import AvcConfig, join_length_prefixed

SPS = bytes.fromhex("6742c00bda0a11f97011000003000100000300320f142aa0")  # x264, 160x120, 25 fps
HIGH_SPS = bytes.fromhex("67640028acd940780227e5c044000003000400000300503c60c658")
PPS = bytes.fromhex("68ce0fc8")
IDR = b"\x65" + b"\x88" * 300
SLICE = b"\x41" + b"\x9a" * 100
AVC_CONFIG = AvcConfig((SPS,), (PPS,)).serialize()
AVC_KEYFRAME = join_length_prefixed([SPS, PPS, IDR])
AVC_PICTURE = join_length_prefixed([SLICE])

HEVC_VPS = bytes.fromhex("40010c01ffff01600000030090000003000003001eba0240")  # x265, 64x64
HEVC_SPS = bytes.fromhex(
    "42010101600000030090000003000003001ea020810596e92930b9a020000003002000000303c1"
)
HEVC_PPS = bytes.fromhex("4401c0718112")
HEVC_IDR = bytes.fromhex("2801ade0c7a7ff1fd7fe9873f6d70fbcbf80")

VP8_KEYFRAME = bytes.fromhex("b0aa009d012a4001b2000547088585889984880202ee45c8") + bytes(60)
VP9_KEYFRAME = bytes.fromhex("824983420013f00b30") + bytes(60)  # 320x180, profile 0
AV1_SEQUENCE = bytes.fromhex("0a0b000000043cfecc4af90040")  # 320x180, level 2.0
AV1_CONFIG = bytes.fromhex("81000c00") + AV1_SEQUENCE
AV1_KEYFRAME = AV1_SEQUENCE + bytes.fromhex("32281000862004102080") + bytes(32)

AAC_CONFIG = b"\x11\x90"  # LC, 48 kHz, stereo
AAC_FRAME = b"\x21" * 60
OPUS_PACKET = b"\xfc" + b"\x55" * 80
