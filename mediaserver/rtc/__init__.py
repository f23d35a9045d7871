"""The WebRTC transport: one UDP port, ICE-lite, DTLS, SRTP batch sender, RTCP, data channels."""
