"""One script a job: what is raced against what, and which bars it is held to."""
