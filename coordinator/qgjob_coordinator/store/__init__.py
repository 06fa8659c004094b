"""Durable state: Redis through Lua scripts. The only package that imports redis."""
