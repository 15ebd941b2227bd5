"""The judge judged: mutants of right gradients, and gradients that people have written wrong."""
