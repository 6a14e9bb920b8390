"""The same algebra as the readable definitions, faster; tests hold both together."""
