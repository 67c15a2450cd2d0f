"""Two runs -> a summary of numbers (`summarize`) -> one self-contained HTML file (`render`)."""
