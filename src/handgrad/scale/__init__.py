"""To run at scale: streams of rows, many devices, many processes, checkpoints."""
