"""What comes to the WebRTC port, and the descriptions that go before it."""

from __future__ import annotations

from benchmarks.fuzzing.parser import Parser
from mediaserver.protocol import rtcp, rtcp_transport_cc, rtp, sdp, sdp_fragment, stun
from mediaserver.protocol.tcp_framing import Deframer, serialize

_KEY = b"password of an ICE agent"
_HASH = ":".join(f"{byte:02X}" for byte in range(32))
_TRANSPORT = (
    "c=IN IP4 0.0.0.0\r\na=ice-ufrag:Ufrg\r\na=ice-pwd:0123456789abcdefghijklmn\r\n"
    f"a=fingerprint:sha-256 {_HASH}\r\na=setup:actpass\r\na=rtcp-mux\r\n"
    "a=candidate:1 1 udp 2122260223 192.0.2.7 54321 typ host generation 0\r\n"
    "a=candidate:2 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active\r\n"
)
_OFFER = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n"
    "a=extmap-allow-mixed\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendrecv\r\n"
    f"{_TRANSPORT}a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 45\r\na=mid:1\r\na=sendrecv\r\n"
    f"{_TRANSPORT}a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f\r\n"
    "a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 transport-cc\r\n"
    "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:98 VP9/90000\r\n"
    "a=fmtp:98 profile-id=0\r\na=rtpmap:45 AV1/90000\r\na=ssrc:1234 cname:somebody\r\n"
    "a=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n"
    f"{_TRANSPORT}a=sctp-port:5000\r\na=max-message-size:262144\r\n"
).encode()
_FRAGMENT = (
    b"a=group:BUNDLE 0 1\r\na=ice-options:trickle ice2\r\na=ice-ufrag:Ufrg\r\n"
    b"a=ice-pwd:0123456789abcdefghijklmn\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    b"a=candidate:1 1 udp 2122260223 6d7f0c3a-1f1e-4a0e-9a52.local 54321 typ host\r\n"
    b"a=candidate:3 1 udp 1686052607 198.51.100.1 60001 typ srflx raddr 192.0.2.7 rport 54321\r\n"
    b"a=end-of-candidates\r\n"
)

_EXTENSIONS = rtp.serialize_extensions({1: b"0", 3: b"\x12\x34", 10: b"h"})
_RTP = bytes((0x90, 96)) + bytes(range(10)) + _EXTENSIONS + b"payload" * 9
_BLOCK = rtcp.ReportBlock(5, 12, 300, 70_000, 90, 1 << 20, 2 << 16)
_RTCP = (
    rtcp.serialize_sender_report(rtcp.SenderReport(1, 1 << 40, 90_000, 10, 999, [_BLOCK]), "us"),
    rtcp.serialize_receiver_report(rtcp.ReceiverReport(1, [_BLOCK]))
    + rtcp.serialize_nack(1, 2, [3, 4, 9, 40])
    + rtcp.serialize_pli(1, 2)
    + rtcp.serialize_fir(1, 2, 3)
    + rtcp.serialize_remb(1, 1_000_000, [2, 3]),
    rtcp.serialize_sdes(1, "somebody") + rtcp.serialize_bye([1, 2], "enough"),
)
_ARRIVALS = [4, 0, None, 900, -3, *[None] * 20, *[1] * 20]
_TWCC = rtcp_transport_cc.serialize(
    rtcp_transport_cc.TransportFeedback(1, 2, 65_530, 5, 1, _ARRIVALS)
)
_REQUEST = stun.binding_request(b"twelve bytes", "them:us", _KEY, 1 << 30, 77, use_candidate=True)


def _sdp(data: bytes) -> object:
    """Read, and looked through for what we might take."""
    offer = sdp.parse(data)
    for media in offer.medias:
        if media.kind == "video":
            sdp.offered_video(media)
            sdp.choose_h264(media)
        sdp.choose_opus(media)
    return offer


def _stun(data: bytes) -> object:
    return stun.verify_integrity(data, stun.parse(data), _KEY)


PARSERS = (
    Parser("rtp", (_RTP,), rtp.parse),
    Parser("rtcp", _RTCP, rtcp.parse),
    Parser("transport-cc", (_TWCC,), rtcp_transport_cc.parse),
    Parser("stun", (_REQUEST,), _stun),
    Parser("sdp", (_OFFER,), _sdp),
    Parser("sdp fragment", (_FRAGMENT,), sdp_fragment.parse),
    Parser(
        "tcp framing",
        (serialize(b"a datagram") + serialize(_RTP),),
        lambda data: Deframer().feed(data),
    ),
)
