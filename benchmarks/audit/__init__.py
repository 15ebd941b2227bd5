"""The audit of public packages: their derivative rules by calls of their public functions."""
