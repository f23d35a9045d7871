"""The scheduled channel: files played in turn, as live as any publisher."""

from mediaserver.ingest.channel.channel import Channel, Plan, Status
from mediaserver.ingest.channel.channels import Channels, NoSuchFile

__all__ = ["Channel", "Channels", "NoSuchFile", "Plan", "Status"]
