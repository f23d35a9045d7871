"""Hawker's configuration: the schema, its commented defaults, and how they are loaded and shown."""

from config.loading import ConfigError, load
from config.schema import Config
from config.showing import to_toml

__all__ = ["Config", "ConfigError", "load", "to_toml"]
