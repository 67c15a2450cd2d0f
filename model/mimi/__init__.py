"""Mimi, the codec of Kyutai's models: read from their files, streamed exactly, on a processor or a GPU."""
