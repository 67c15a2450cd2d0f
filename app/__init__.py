"""The composition root: commands and pages. It may import every room; nothing imports it."""
