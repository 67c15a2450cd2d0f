"""The embedded full-duplex model: its closed world, its codec, its recipe and its weights."""
