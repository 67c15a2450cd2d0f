"""An OpenAI-compatible chat server whose answer is read as it comes, with a clear end to every way it can fail.

A server that is not there or refuses the key stops the run; one that breaks off, hangs, stalls or sends nonsense fails
its talk. Nothing is asked twice: a second try would be a second measurement. An answer without the mark of its end has
been cut. The key comes from DUOLOGUE_CASCADE_KEY, else from OPENAI_API_KEY; a local server needs none.
"""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from model.systems.cascade_config import ChatConfig
from protocols.errors import InputError, PeerFailed, SystemUnreachable


class Message(NamedTuple):
    role: Literal["system", "user", "assistant"]
    content: str


class Counts(NamedTuple):
    """Tokens of one answer, where the server says them."""

    prompt: int = 0
    completion: int = 0


class Chat(Protocol):
    """Answers, piece by piece."""

    def answer(self, messages: Sequence[Message], seed: int) -> Iterator[str | Counts]:
        """Pieces of the answer, then its counts. May raise PeerFailed and SystemUnreachable."""
        ...

    def close(self) -> None: ...


class ChatServer:
    """One model of one server. Nothing is connected until it is asked."""

    def __init__(self, config: ChatConfig) -> None:
        try:
            import httpx2
            import openai
        except ImportError as error:
            raise InputError(f"cascade needs {error.name}; pip install -e '.[openai]'") from error
        self._config = config
        key = os.environ.get("DUOLOGUE_CASCADE_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
        timeout = httpx2.Timeout(config.silent, connect=config.connect)
        self._client = openai.OpenAI(base_url=config.url, api_key=key, max_retries=0, timeout=timeout)
        self._peer = f"the chat server at {self._client.base_url.host}"

    def answer(self, messages: Sequence[Message], seed: int) -> Iterator[str | Counts]:
        import httpx2
        import openai

        deadline, ended = time.monotonic() + self._config.longest, False
        try:
            with self._ask(messages, seed) as events:
                for event in events:
                    if time.monotonic() > deadline:
                        raise self._failed(f"was still answering after {self._config.longest:g} s")
                    if event.usage:
                        yield Counts(event.usage.prompt_tokens or 0, event.usage.completion_tokens or 0)
                    for choice in event.choices or ():
                        ended = ended or bool(choice.finish_reason)
                        if choice.delta and choice.delta.content:
                            yield choice.delta.content
        except (openai.APITimeoutError, httpx2.TimeoutException) as error:
            raise self._failed(f"was silent for {self._config.silent:g} s") from error
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise SystemUnreachable(f"{self._peer} refuses {self._config.model}: {error}") from error
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise SystemUnreachable(
                    f"{self._peer} does not answer at {self._config.url}; is it running?"
                ) from error
            raise self._failed(f"cut the connection ({error.__cause__ or error})") from error
        except httpx2.HTTPError as error:
            raise self._failed(f"cut the connection ({error})") from error
        except openai.APIStatusError as error:
            raise self._failed(f"said HTTP {error.status_code}: {error.message}") from error
        except openai.APIError as error:
            raise self._failed(f"said: {error.message}") from error
        except (ValueError, AttributeError, TypeError) as error:
            raise self._failed(f"sent what is no chat completion ({type(error).__name__}: {error})") from error
        if not ended:
            raise self._failed("broke its answer off")

    def _ask(self, messages: Sequence[Message], seed: int) -> Any:
        c = self._config
        more: dict[str, Any] = {"seed": seed} if c.seeded else {}
        said: Any = [message._asdict() for message in messages]
        return self._client.chat.completions.create(
            model=c.model, messages=said, temperature=c.temperature, max_tokens=c.max_tokens, stream=True,
            stream_options={"include_usage": True}, **more,
        )  # fmt: skip

    def _failed(self, what: str) -> PeerFailed:
        return PeerFailed(f"{self._peer} {what}")

    def close(self) -> None:
        self._client.close()
