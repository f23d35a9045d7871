"""The relay: the one way for media to leave a process, a framed subscription over a socket."""

from mediaserver.hub.relay.client import RelayClient, RelayPublication, Subscription
from mediaserver.hub.relay.server import RelayServer
from mediaserver.hub.relay.wire import Change

__all__ = ["Change", "RelayClient", "RelayPublication", "RelayServer", "Subscription"]
