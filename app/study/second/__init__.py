"""Raters of the second stage: which finished talks each is given, and how they meet them."""
