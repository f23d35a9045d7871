"""The demo show: a program of its own that is an ordinary client of the server's API and events.

`python -m overlay.demo --url http://127.0.0.1:8080 --room demo`, the admin token on the first line of
stdin. It fills a small shop, pins cards, lets labelled bots chat, and sells out a flash sale.
"""
