"""Hawker's commerce: a plain-Python domain and the store below it, without a frame of video."""
