"""Why the judge can be trusted: mutants, the battery of wrong gradients, every float32 logit."""
