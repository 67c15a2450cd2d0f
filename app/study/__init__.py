"""A human study: who rates what, in which order, and what becomes of the answers. The talks themselves are `live`'s."""
