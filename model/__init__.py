"""Who speaks, and how it is aligned. The only room that may import torch."""
