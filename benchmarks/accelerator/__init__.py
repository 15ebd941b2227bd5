"""One run on a machine with an accelerator, its limits, correctness and races in eight minutes."""
