"""Buyers who reserve one hot SKU: through the order desk in-process, over HTTP, and by plain Lua."""
