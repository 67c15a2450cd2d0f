"""The two ways an agent's words reach a scorer of content: what it writes, and what it is heard to say."""

from typing import Literal

from eval.metrics.base import Heard
from protocols.records import Transcript

ContentChannel = Literal["text", "speech"]
CHANNELS: tuple[ContentChannel, ContentChannel] = ("text", "speech")
MISSING = {"text": "the system gives no text of its own", "speech": "no transcriber listened to this talk"}
TITLES = {"text": "text stream", "speech": "as heard"}


def transcript_of(heard: Heard, channel: ContentChannel) -> Transcript | None:
    """The agent's words of a talk as a channel has them; None where nobody wrote them down."""
    return heard.model_transcript() if channel == "text" else heard.speech_transcript()
