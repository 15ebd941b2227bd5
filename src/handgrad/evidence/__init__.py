"""Why the judge can be trusted: the forms measured at every input, and the judge itself judged."""
