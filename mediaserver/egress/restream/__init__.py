"""Restreaming: a room's stream pushed to other platforms over RTMP and RTMPS."""

from mediaserver.egress.restream.address import Address, UnusableUrl
from mediaserver.egress.restream.health import Health
from mediaserver.egress.restream.restreams import Restreams
from mediaserver.egress.restream.target import Target

__all__ = ["Address", "Health", "Restreams", "Target", "UnusableUrl"]
