"""SDP offers and answers of WebRTC (RFC 8866, 8829, 8839, 8843, 3264, 8841, 8840, 9725).

The parser reads what publishers and players really send and ignores what it does not know:
transport attributes at session level or only in the first bundled section, no candidates, mDNS
names, fmtp with blanks. What is structurally broken or over a limit is a ProtocolError.

An answer is written from the offer and one decision per m-line. An m-line that cannot be had is
answered with port 0; an offer is never refused whole for it (RFC 3264 §6).
"""

from mediaserver.protocol.sdp.answer import setup_for, write_answer
from mediaserver.protocol.sdp.codecs import (
    choose_h264,
    choose_opus,
    choose_rtx,
    receiving_opus,
    with_feedback,
    with_settings,
)
from mediaserver.protocol.sdp.description import (
    DEFAULT_MAX_MESSAGE_BYTES,
    DIGESTS,
    MID_EXTENSION,
    RID_EXTENSION,
    AnswerMedia,
    Candidate,
    Codec,
    Direction,
    Offer,
    OfferMedia,
    Setup,
)
from mediaserver.protocol.sdp.lines import MAX_LINES, MAX_SDP_BYTES
from mediaserver.protocol.sdp.offer import parse
from mediaserver.protocol.sdp.video import choose_video, offered_video

__all__ = [
    "DEFAULT_MAX_MESSAGE_BYTES",
    "DIGESTS",
    "MAX_LINES",
    "MAX_SDP_BYTES",
    "MID_EXTENSION",
    "RID_EXTENSION",
    "AnswerMedia",
    "Candidate",
    "Codec",
    "Direction",
    "Offer",
    "OfferMedia",
    "Setup",
    "choose_h264",
    "choose_opus",
    "choose_rtx",
    "choose_video",
    "offered_video",
    "parse",
    "receiving_opus",
    "setup_for",
    "with_feedback",
    "with_settings",
    "write_answer",
]
