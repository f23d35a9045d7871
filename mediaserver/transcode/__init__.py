"""Decoders and encoders, in processes of their own: readers of a stream, publishers of renditions."""
