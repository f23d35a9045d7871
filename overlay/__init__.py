"""Hawker's rooms: keys and tokens, events, their delivery and the pages."""
