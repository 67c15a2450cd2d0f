"""Asks a language model behind any OpenAI-compatible endpoint, many questions at once and none twice.

The client library retries what may pass (429, 5xx, lost connections, time-outs) with growing pauses; around it stand
one deadline per request, so that an endpoint that drips bytes cannot hold a run, and one re-ask that tells the judge
what was wrong with its reply. What then has no verdict is Unjudged: it stands in the list where the verdict would, and
whoever counts leaves it out of numerator and denominator. An answered question is on disk before the next one starts.

The key comes from the environment variable DUOLOGUE_JUDGE_KEY and goes nowhere but to the endpoint: it is cut out of
every message. Nothing here knows what is asked.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from eval.judge.prompts import Prompt
from eval.judge.replies import Asked, JudgeReply, ReplyLog
from eval.judge.verdicts import Unreadable
from protocols.errors import DuologueError, InputError, SystemUnreachable, Unjudged

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")
KEY = "DUOLOGUE_JUDGE_KEY"
HOPELESS = {401, 403, 404}  # asking again or asking something else would not help
ABOUT_THE_ITEM = {400, 413, 422}  # the endpoint lives and will not take this question
LONGEST_PAUSE = 60.0  # seconds between two tries: the library waits no longer even where the endpoint asks for it
GIVE_UP = 5  # requests in vain, before the first reply, after which the endpoint counts as unreachable
SHOWN = 2000  # characters of an unreadable reply that are shown to the judge again


class Price(NamedTuple):
    """Money per million tokens, in whatever currency the endpoint bills."""

    tokens_in: float
    tokens_out: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


class Endpoint(NamedTuple):
    """Where a judge is, and how hard it may be asked."""

    url: str
    model: str
    concurrency: int = 16
    timeout: float = 60.0  # seconds for one try
    retries: int = 4
    price: Price | None = None

    @property
    def source(self) -> str:
        """Model and address, without whatever secret the address may hold."""
        at = urlsplit(self.url)
        port = f":{at.port}" if at.port else ""
        return f"{self.model}@{at.hostname}{port}{at.path.rstrip('/')}"


class Question(NamedTuple, Generic[T]):
    """A prompt, what fills it, and how the reply is read. `read` raises Unreadable where it holds no verdict."""

    prompt: Prompt
    values: Mapping[str, str]
    read: Callable[[str], T]

    @property
    def item(self) -> str:
        return hashlib.sha256(msgspec.json.encode(dict(self.values), order="sorted")).hexdigest()


class Spent(msgspec.Struct):
    """What judging took so far."""

    requests: int = 0
    retries: int = 0
    from_disk: int = 0  # replies that were there already
    reasked: int = 0
    unjudged: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    uncounted: int = 0  # replies of which the endpoint gave no token count

    def cost(self, price: Price | None) -> float | None:
        """None where no price is known or some tokens were not counted."""
        if price is None or self.uncounted:
            return None
        return price.of(self.tokens_in, self.tokens_out)


def refuse_own_judge(model: str, *system: str) -> None:
    """InputError if the judge seems to be the system under test (its names and versions are given)."""
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in (model, *system)]
    for name, given in zip(plain[1:], system, strict=True):
        if min(len(name), len(plain[0])) >= 4 and (plain[0] in name or name in plain[0]):
            raise InputError(
                f"the judge {model!r} looks like the system under test ({given}), which must not judge itself; "
                "name another --judge-model, or give --judge-own if they are not the same"
            )


class Judge:
    """One model at one endpoint, with its replies on disk."""

    def __init__(self, endpoint: Endpoint, log: ReplyLog) -> None:
        if urlsplit(endpoint.url).scheme not in ("http", "https") or not urlsplit(endpoint.url).hostname:
            raise InputError(f"--judge-url {endpoint.url!r} is no http address such as http://127.0.0.1:8000/v1")
        if endpoint.concurrency < 1 or endpoint.timeout <= 0 or endpoint.retries < 0:
            raise InputError("a judge needs a concurrency of at least 1, a time-out above 0 and no negative retries")
        self.endpoint = endpoint
        self.source = endpoint.source
        self.spent = Spent()
        self._log = log
        self._key = os.environ.get(KEY, "")
        self._alive = False
        self._in_vain = 0

    def ask(
        self, questions: Sequence[Question[T]], progress: Callable[[int], None] = lambda done: None
    ) -> list[T | Unjudged]:
        """One verdict per question, in order. Equal questions are asked once.

        Raises InputError if the endpoint rejects the key or does not know the model, SystemUnreachable if it never
        answers. Not to be called from inside an event loop.
        """
        different = {(q.prompt.sha256, q.item): q for q in questions}
        with self._log:
            verdicts = asyncio.run(self._ask_all(list(different.values()), progress))
        by_key = dict(zip(different, verdicts, strict=True))
        return [by_key[q.prompt.sha256, q.item] for q in questions]

    def answered(self, questions: Sequence[Question[Any]]) -> int:
        """How many of them have a reply on disk; nothing is asked, and nothing made."""
        if not self._log.path.exists():
            return 0
        with self._log:
            asked = (Asked(self.source, q.prompt.sha256, q.item, 1) for q in questions)
            return sum(self._log.get(one) is not None for one in asked)

    async def _ask_all(self, questions: list[Question[T]], progress: Callable[[int], None]) -> list[T | Unjudged]:
        verdicts: list[T | Unjudged] = [Unjudged("not asked")] * len(questions)
        waiting = iter(enumerate(questions))
        done = 0

        async def work(client: "AsyncOpenAI") -> None:
            nonlocal done
            for n, question in waiting:
                verdicts[n] = await self._verdict(client, question)
                done += 1
                progress(done)

        try:
            async with _client(self.endpoint, self._key) as client, asyncio.TaskGroup() as group:
                for _ in range(min(self.endpoint.concurrency, len(questions))):
                    group.create_task(work(client))
        except* DuologueError as errors:
            raise errors.exceptions[0] from None
        return verdicts

    async def _verdict(self, client: "AsyncOpenAI", question: Question[T]) -> T | Unjudged:
        messages = question.prompt.messages(question.values)
        fault = ""
        for attempt in (1, 2):
            asked = Asked(self.source, question.prompt.sha256, question.item, attempt)
            reply = self._log.get(asked)
            if reply is None:
                self.spent.reasked += attempt == 2
                sent = await self._send(client, asked, messages, question.prompt.max_tokens)
                if isinstance(sent, Unjudged):
                    self.spent.unjudged += 1
                    return sent
                reply = sent
            else:
                self.spent.from_disk += 1
            try:
                return question.read(reply.text)
            except Unreadable as error:
                fault = str(error)
            messages = [
                *messages,
                {"role": "assistant", "content": reply.text[:SHOWN] or "(nothing)"},
                {"role": "user", "content": f"That cannot be read: {fault}. Please answer once more."},
            ]
        self.spent.unjudged += 1
        return Unjudged(f"{self.source} gave no readable verdict in two replies: {fault}")

    async def _send(
        self, client: "AsyncOpenAI", asked: Asked, messages: list[dict[str, str]], max_tokens: int
    ) -> JudgeReply | Unjudged:
        """One reply, kept on disk before it is returned."""
        import openai

        chat: Any = messages
        tries = self.endpoint.retries + 1
        self.spent.requests += 1
        try:
            async with asyncio.timeout(tries * self.endpoint.timeout + self.endpoint.retries * LONGEST_PAUSE):
                raw = await client.chat.completions.with_raw_response.create(
                    model=self.endpoint.model, messages=chat, temperature=0, max_tokens=max_tokens
                )
            reply = _read_answer(asked, raw.parse)
        except openai.APIStatusError as error:
            if error.status_code in HOPELESS:
                raise InputError(self._says(f"answers {error.status_code}: {error.message}")) from error
            self._alive |= error.status_code in ABOUT_THE_ITEM
            return self._vain(f"answers {error.status_code}")
        except (openai.APIError, TimeoutError, Unreadable) as error:
            return self._vain(f"failed: {error}" if str(error) else "answers too slowly")
        self._alive = True
        self.spent.retries += raw.retries_taken
        self.spent.uncounted += reply.tokens_in is None or reply.tokens_out is None
        self.spent.tokens_in += reply.tokens_in or 0
        self.spent.tokens_out += reply.tokens_out or 0
        self._log.add(reply)
        return reply

    def _vain(self, why: str) -> Unjudged:
        """A request without a reply; it is not kept, so a later run asks again."""
        self._in_vain += 1
        if not self._alive and self._in_vain >= GIVE_UP:
            raise SystemUnreachable(self._says(why) + f"; {KEY} holds its key, if it needs one")
        return Unjudged(self._says(why))

    def _says(self, what: str) -> str:
        said = f"the judge {self.source} {what}"
        return said.replace(self._key, "***") if self._key else said


def _client(endpoint: Endpoint, key: str) -> "AsyncOpenAI":
    try:
        import openai
    except ImportError as error:
        raise InputError("a judge needs the openai package: pip install -e '.[openai]'") from error
    omit: Any = openai.Omit()  # what the environment holds for another endpoint is not sent to this one
    return openai.AsyncOpenAI(
        base_url=endpoint.url,
        api_key=key or "none",
        timeout=endpoint.timeout,
        max_retries=endpoint.retries,
        default_headers={"OpenAI-Organization": omit, "OpenAI-Project": omit},
    )


def _read_answer(asked: Asked, parse: Callable[[], Any]) -> JudgeReply:
    """The endpoint's answer as a reply; Unreadable if it is none of the protocol."""
    try:
        answer = parse()
        choice, usage = answer.choices[0], answer.usage
        return JudgeReply(
            *asked,
            text=str(choice.message.content or ""),
            tokens_in=usage.prompt_tokens if usage else None,
            tokens_out=usage.completion_tokens if usage else None,
            finish=choice.finish_reason,
        )
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise Unreadable("it does not speak the chat completions protocol") from error
