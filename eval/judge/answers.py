"""Whether replies give an accepted answer, asked of a language model: all open ones at once, each once.

What comes back is the AnswerJudge that `eval.metrics.qa_judge` needs, made beforehand so that the judge's concurrency
is used to the full. Which answers are open is decided there; nothing here knows the rules.
"""

import json
from collections.abc import Callable, Mapping, Sequence

from eval.judge.ask import Judge, Question
from eval.judge.prompts import Prompt, load_prompt, quoted
from eval.judge.verdicts import read_word
from eval.metrics.qa_judge import AnswerVerdict, OpenAnswer
from protocols.errors import InputError, Unjudged

SHOWN = 300  # characters of a judge's reason that stay with the score


class FoundAnswers:
    """An AnswerJudge that was asked before; of anything else it knows nothing, which is an InputError."""

    def __init__(self, source: str, verdicts: Mapping[OpenAnswer, AnswerVerdict]) -> None:
        self.source = source
        self._verdicts = verdicts

    def __call__(self, question: str, accepted: Sequence[str], answer: str) -> AnswerVerdict:
        try:
            return self._verdicts[OpenAnswer(question, tuple(accepted), answer)]
        except KeyError:
            raise InputError(f"the judge was not asked about {answer[:60]!r}") from None


def judge_answers(
    judge: Judge,
    answers: Sequence[OpenAnswer],
    progress: Callable[[int], None] = lambda done: None,
    prompt: Prompt | None = None,
) -> FoundAnswers:
    """The judge's word on every answer; one it cannot be read on is `right=None`, with the reason."""
    prompt = prompt or load_prompt("answer")
    given = judge.ask([_question(prompt, answer) for answer in answers], progress)
    verdicts = [AnswerVerdict(None, str(v)) if isinstance(v, Unjudged) else v for v in given]
    return FoundAnswers(f"{judge.source}:{prompt.id}", dict(zip(answers, verdicts, strict=True)))


def _question(prompt: Prompt, answer: OpenAnswer) -> Question[AnswerVerdict]:
    values = {
        "question": quoted(answer.question),
        "accepted": json.dumps(answer.accepted, ensure_ascii=False),
        "reply": quoted(answer.answer),
    }

    def read(reply: str) -> AnswerVerdict:
        right = read_word(reply, prompt.verdicts) == "yes"
        reason = reply.strip().rpartition("\n")[0]
        return AnswerVerdict(right, " ".join(reason.split())[:SHOWN])

    return Question(prompt, values, read)
