"""`make bench`: every benchmark as a table. Speeds are ratios to real time or to a named alternative in one run."""

from app.show import Terminal
from benchmarks import activity, align, live, lm, pairs, pipeline, qa, report, statistics

if __name__ == "__main__":
    terminal = Terminal(as_json=False)
    terminal.table(pipeline.COLUMNS, pipeline.table(), title="\nSpeed and memory")
    terminal.table(activity.COLUMNS, activity.table(), title="\nSpeech edges against the spoken set's own")
    terminal.table(qa.COLUMNS, qa.table(), title="\nAnswer scorers against answers labelled by meaning")
    terminal.table(pairs.COLUMNS, pairs.table(), title="\nPlanted faults found again")
    terminal.table(pairs.SPEED, pairs.speed(), title="\nPairs from synthetic talks")
    terminal.table(lm.COLUMNS, lm.table(), title="\nThe language model, 5.3 million parameters, one core")
    terminal.table(align.COLUMNS, align.table(), title="\nAlignment, 6 million parameters, one core")
    terminal.table(
        statistics.COLUMNS, list(statistics.calibration()), title="\nStatistics: how often right, by simulation"
    )
    terminal.table(pipeline.COLUMNS, statistics.speed(), title="\nStatistics: speed")
    terminal.table(pipeline.COLUMNS, report.table(), title="\nA whole report")
    terminal.table(live.COLUMNS, live.table(), title="\nLive talks at once, over sockets")
