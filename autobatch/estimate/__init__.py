"""Memory and time from shapes alone: the prior of a search and the answer of `plan`."""
