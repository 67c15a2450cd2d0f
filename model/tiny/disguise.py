"""One voice becomes many, in the codec's own features: formants and pitch moved, the spectrum coloured.

What a model hears of a voice are codes, and codes can be turned back into log-mel bands and pitch, changed, and coded
again: a thousand times faster than saying a text in another voice. So no utterance of a training sounds twice the
same. Bands are moved along the frequency axis as another vocal tract would (vocal tract length normalisation, used
backwards), and tilted and bent as another throat or microphone would.
"""

import numpy as np

from model.tiny.codec import Floats, Quantiser
from model.tiny.features import BANDS, LN_FLOOR, PITCH_WEIGHT, hertz, mel
from model.tiny.grid import AgentClip, Codes, UserClip
from model.tiny.talks import Clips

SHARE = 0.6  # of utterances that are disguised
WARP = (0.85, 1.18)  # frequencies are multiplied by
COLOUR = 0.5  # nepers, of the slowest of the BENDS that colour a spectrum
PITCH = 0.1  # nepers by which pitch moves beside its formants
BENDS = 4
NO_PITCH = 0.3  # features nearer to neutral than this have no pitch

_MELS = np.linspace(mel(60), mel(7_800), BANDS + 2)[1:-1]
_HERTZ = hertz(_MELS)
_ORDERS = np.arange(1, BENDS + 1)
_BENDS = np.cos(np.pi * np.outer(_ORDERS, (np.arange(BANDS) + 0.5) / BANDS)) / np.sqrt(_ORDERS)[:, None]


class Disguised:
    """The Clips of another, whose users' voices are changed at random."""

    def __init__(self, clips: Clips, quantiser: Quantiser) -> None:
        self._clips, self._quantiser = clips, quantiser

    def user(self, text: str, rng: np.random.Generator) -> UserClip:
        clip = self._clips.user(text, rng)
        return clip._replace(codes=disguise(clip.codes, self._quantiser, rng)) if rng.random() < SHARE else clip

    def agent(self, text: str) -> AgentClip:
        return self._clips.agent(text)

    def noise(self, n_frames: int, rng: np.random.Generator) -> Codes:
        return self._clips.noise(n_frames, rng)

    @property
    def replies(self) -> tuple[str, ...]:
        return self._clips.replies

    @property
    def silence(self) -> Codes:
        return self._clips.silence


def disguise(codes: Codes, quantiser: Quantiser, rng: np.random.Generator) -> Codes:
    """Codes [8, n] of the same words in another voice; digital silence stays what it is."""
    formants = float(rng.uniform(*np.log(WARP)))
    pitch = formants + float(rng.normal(0, PITCH))
    colour = (rng.normal(0, COLOUR, BENDS) @ _BENDS).astype(np.float32)
    heard = moved(quantiser.patches(quantiser.places(codes.T)), formants, pitch)
    heard[..., :BANDS] = np.maximum(heard[..., :BANDS] + colour, LN_FLOOR)
    changed = quantiser.quantise(heard.reshape(len(heard), -1)).T
    return np.where(codes.any(axis=0), changed, 0).astype(np.int16)


def moved(features: Floats, formants: float, pitch: float) -> Floats:
    """Features [..., BANDS + 1] with every frequency of the bands exp(formants) times as high, and pitch exp(pitch)."""
    at = np.interp(mel(_HERTZ * np.exp(-formants)), _MELS, np.arange(BANDS))
    below = np.minimum(at.astype(np.int64), BANDS - 2)
    share = (at - below).astype(np.float32)
    bands = features[..., below] * (1 - share) + features[..., below + 1] * share
    tone = features[..., BANDS:]
    tone = np.where(np.abs(tone) > NO_PITCH, tone + np.float32(PITCH_WEIGHT * pitch), tone)
    return np.concatenate([bands, tone], axis=-1, dtype=np.float32)
