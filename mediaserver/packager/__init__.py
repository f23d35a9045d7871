"""Packets to fragmented MP4, HLS segments and playlists; no HTTP here."""
