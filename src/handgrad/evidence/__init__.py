"""Why the judge can be trusted: it is shown gradients whose faults are known."""
