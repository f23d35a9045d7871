"""Webhooks out: what happens in the shop, told to other people's servers (Standard Webhooks 1.0.0)."""
