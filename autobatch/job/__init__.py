"""A job: one search as it was asked for, and the putting together of all that it needs."""
