"""Files larger than memory: learnt in one pass, prepared in a second, then read in windows."""
