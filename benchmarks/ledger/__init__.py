"""The ledger under crashes: a model in memory, processes that can be killed, and what must always hold.

`books` is the model: small, in memory, and right at a glance. `crashing` is a store whose process can
be killed at every boundary, `process` the real services on it, `acts` what clients do, `explain` finds
an order of what was done at once that the model allows, `observe` reads what the store holds,
`invariants` are the twelve sentences, and `world` puts them together, one step after the other.
"""
