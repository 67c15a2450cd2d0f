"""Families of samples, and the suites that name them."""
