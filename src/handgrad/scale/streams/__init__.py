"""Files larger than memory: learnt in one pass, encoded in a second, then read as often as wanted.

A source yields blocks of rows; the second pass writes them, encoded and standardised, to a working
copy; a Stream is what training reads from it.
"""

from handgrad.scale.streams.stream import Stream, open_parts, open_stream

__all__ = ["Stream", "open_parts", "open_stream"]
