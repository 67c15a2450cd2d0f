"""Alignment of a full-duplex model from preference pairs: losses, one packed forward for many replies, the trainer."""
