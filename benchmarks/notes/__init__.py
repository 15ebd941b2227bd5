"""The two source texts, statement by statement: what they say, and whether it holds."""
