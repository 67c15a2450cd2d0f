"""Text to speech by a server that speaks OpenAI's `/v1/audio/speech`: OpenAI's own, or a local one.

Where the server is and its key come from OPENAI_BASE_URL and OPENAI_API_KEY, as the openai client reads them. The one
non-obvious decision: WAV is asked for, not raw samples, because it says its sample rate, which differs between servers.
The server's address and the model are part of `source`, so that a cache never mixes two.
"""

import io
from collections.abc import Sequence

from eval.speak import checked, trimmed
from protocols.audio import resample
from protocols.duplex import SAMPLE_RATE, Audio
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
        return trimmed(_decoded(reply.content, str(self._client.base_url)), text)


def _decoded(data: bytes, where: str) -> Audio:
    import soundfile

    try:
        samples, sample_rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise InputError(f"the speech server at {where} sent {len(data)} bytes that are no WAV: {error}") from error
    return resample(samples.mean(axis=1), sample_rate, SAMPLE_RATE)
