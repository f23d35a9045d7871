"""Payments: the seam to providers, the records, and the sandbox that stands in for a real one."""
