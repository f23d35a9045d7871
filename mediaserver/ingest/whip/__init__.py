"""WHIP ingest (RFC 9725): an offer in, RTP to Packets, feedback to the publisher."""

from mediaserver.ingest.whip.publisher import WhipPublisher
from mediaserver.ingest.whip.resources import WhipIngest

__all__ = ["WhipIngest", "WhipPublisher"]
