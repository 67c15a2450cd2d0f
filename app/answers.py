"""Answers as something a judge decides: what the rules leave open in a run's questions, on both channels."""

from app.subject import Step, Subject
from eval.judge.answers import judge_answers
from eval.judge.ask import Judge
from eval.metrics.base import Metric
from eval.metrics.channels import CHANNELS
from eval.metrics.qa_judge import judged, judged_name, open_answer
from eval.score import heard_talks
from protocols.store import Run


def judged_answers(run: Run, judge: Judge) -> Subject | None:
    """Everything the rules find wrong in an answer, put to the judge; None for a run without questions."""
    names = tuple(judged_name(channel) for channel in CHANNELS)
    tasks = {task: names for task, scored in run.info.tasks.items() if {"qa.text", "qa.speech"} & set(scored)}
    if not tasks:
        return None
    found = (open_answer(heard, c) for heard in heard_talks(run) if heard.sample.task in tasks for c in CHANNELS)
    asked = list(dict.fromkeys(answer for answer in found if answer is not None))

    def metrics(step: Step) -> dict[str, Metric]:
        said = judge_answers(judge, asked, step)
        return {judged_name(channel): judged(said, channel) for channel in CHANNELS}

    return Subject(tasks, len(asked), metrics, frozenset(names))
