"""Text to speech by a server that speaks OpenAI's `/v1/audio/speech`: OpenAI's own, or a local one.

Where the server is and its key come from OPENAI_BASE_URL and OPENAI_API_KEY, as the openai client reads them. The one
non-obvious decision: WAV is asked for, not raw samples, because it says its sample rate, which differs between servers.
The server's address and the model are part of `source`, so that a cache never mixes two.
"""

from collections.abc import Sequence

from eval.speak import checked, trimmed
from protocols.audio import mixed
from protocols.duplex import Audio
from protocols.encoding import decoded
from protocols.errors import InputError, SystemUnreachable

VOICES = ("alloy", "ash", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer")  # of OpenAI's own models


class OpenAISpeaker:
    """One model of a server, with the voices it is said to have."""

    def __init__(self, model: str, voices: Sequence[str] = VOICES) -> None:
        try:
            import openai
        except ImportError as error:
            raise InputError("the openai client is not installed; pip install 'duologue[openai]'") from error
        try:
            self._client = openai.OpenAI(max_retries=2)
        except openai.OpenAIError as error:
            raise InputError(
                "no key for the speech server; set OPENAI_API_KEY (any word for a local server), and OPENAI_BASE_URL "
                "unless it is OpenAI's"
            ) from error
        self._model = model
        self.voices = tuple(voices)
        self.source = f"openai:{model}@{self._client.base_url.host}:{self._client.base_url.port or ''}".rstrip(":")

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        import openai

        voice = checked(text, voice or self.voices[0], speed, self.voices)
        try:
            reply = self._client.audio.speech.create(
                model=self._model, voice=voice, input=text, speed=speed, response_format="wav"
            )
        except openai.APIConnectionError as error:
            raise SystemUnreachable(f"no speech server answers at {self._client.base_url}: {error}") from error
        except openai.APIStatusError as error:
            raise InputError(
                f"the speech server at {self._client.base_url} refused {self._model!r}: {error}"
            ) from error
        return trimmed(mixed(decoded(reply.content, f"the speech server at {self._client.base_url}")), text)
