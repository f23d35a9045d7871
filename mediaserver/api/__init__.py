"""Thin aiohttp handlers: parse, one call, reply."""
