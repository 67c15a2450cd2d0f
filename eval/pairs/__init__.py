"""Raw talks to preference pairs: what was wrong, what would have been right, and the frame where the two part."""
