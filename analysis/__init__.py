"""Numbers into statements."""
