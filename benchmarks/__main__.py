"""`make bench`: every benchmark as a table. Speeds are ratios to real time or to a named alternative in one run."""

from app.show import Terminal
from benchmarks import activity, lm, pipeline

if __name__ == "__main__":
    terminal = Terminal(as_json=False)
    terminal.table(pipeline.COLUMNS, pipeline.table(), title="\nSpeed and memory")
    terminal.table(activity.COLUMNS, activity.table(), title="\nSpeech edges against the spoken set's own")
    terminal.table(lm.COLUMNS, lm.table(), title="\nThe language model, 5.3 million parameters, one core")
