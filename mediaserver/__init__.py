"""Hawker's media server: ingest, hub, transcode, packaging and egress of live streams."""
