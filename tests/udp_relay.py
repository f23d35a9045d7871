"""The bad network of the tests is that of `hawker load`."""

from benchmarks.load.udp_relay import Address, Counts, Direction, UdpRelay

__all__ = ["Address", "Counts", "Direction", "UdpRelay"]
