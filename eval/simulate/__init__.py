"""A spoken user who holds a talk of several turns with any system, on either clock."""
