"""The error of derivatives over every input of a dtype, in units in the last place."""
