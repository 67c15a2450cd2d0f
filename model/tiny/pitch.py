"""The pitch of a voice while it is heard: normalised correlation, and a Viterbi search that decides a little late.

Talkin's RAPT idea: the last 25 ms are compared with what lay one period before, and the best path through 144 pitches
and "unvoiced" wins. The one non-obvious decision: the decision about a hop falls `lag` hops later and is final, so a
talk heard live and a talk heard whole agree bit for bit. Every state carries the pitches of its own best path along
(register exchange), so nothing is traced back. Between voiced stretches the pitch is held for 0.2 s, then it returns
to a neutral value, at once where the sound is digitally silent: silence must not remember who spoke before.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, rfft
from scipy.signal import butter, sosfilt

from model.tiny.rows import Rows

Floats = npt.NDArray[np.float64]

DECIMATION = 3  # the tracker works at 8 kHz
RATE = 8_000
HOP = 64  # samples at RATE, 8 ms
WINDOW = 200  # samples at RATE, 25 ms
LOWEST, HIGHEST = 55.0, 420.0  # Hz
LONGEST = 147  # samples at RATE; no period is longer
N_PITCHES = 144
NEUTRAL = float(np.log(120.0))  # the pitch of what has none
LAG = 5  # hops between a sound and the decision about its pitch
HOLD = 25  # hops a pitch outlives its voice

REACH = 6  # a path moves at most this many pitches (8.7 %) in a hop
STEP_COST = 0.09  # per pitch moved
SWITCH_COST = 0.15  # voiced to unvoiced and back
UNVOICED = 0.55  # the correlation a voice must exceed
LAG_COST = 0.0004  # per sample: of two periods that fit, the shorter one
QUIETEST = 1e-7 * WINDOW  # energy below which correlation fades, -70 dB
TINY = 1e-20  # smaller filter states are zero; subnormal numbers are slow

_BAND = butter(2, [60, 1000], "bandpass", fs=RATE * DECIMATION, output="sos")
_LN_PITCHES = np.linspace(np.log(LOWEST), np.log(HIGHEST), N_PITCHES)
_LN_STEP = float(_LN_PITCHES[1] - _LN_PITCHES[0])

_MOVES = np.arange(-REACH, REACH + 1)
_ARRIVALS = np.arange(N_PITCHES)[:, None] + _MOVES
_OUTSIDE = (_ARRIVALS < 0) | (_ARRIVALS >= N_PITCHES)
_SOURCES = np.pad(np.clip(_ARRIVALS, 0, N_PITCHES - 1), ((0, 0), (0, 1)), constant_values=N_PITCHES)
_COSTS = np.pad(np.where(_OUTSIDE, np.inf, STEP_COST * np.abs(_MOVES)), ((0, 0), (0, 1)), constant_values=SWITCH_COST)


def _cubic(lags: Floats, n: int) -> Floats:
    """[n, len(lags)]: the matrix that reads a function known at 0 ... n - 1 at `lags` (Catmull-Rom)."""
    matrix = np.zeros((n, len(lags)))
    base = np.floor(lags).astype(int)
    t = lags - base
    weights = [-0.5 * t + t**2 - 0.5 * t**3, 1 - 2.5 * t**2 + 1.5 * t**3]
    weights += [0.5 * t + 2 * t**2 - 1.5 * t**3, -0.5 * t**2 + 0.5 * t**3]
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        matrix[base + offset, np.arange(len(lags))] = weight
    return matrix


_PERIODS = RATE / np.exp(_LN_PITCHES)  # samples at RATE
_AT_PERIODS = np.ascontiguousarray(_cubic(_PERIODS, LONGEST + 1)[::-1])  # [LONGEST + 1, N_PITCHES], longest first


@dataclass
class PitchState(Rows):
    """What the tracker remembers of B talks."""

    band: Floats  # [B, sections, 2], the band-pass filter
    heard: Floats  # [B, LONGEST + WINDOW - HOP], the latest samples at RATE
    score: Floats  # [B, N_PITCHES + 1], of the best path to each pitch and to unvoiced
    trail: Floats  # [B, N_PITCHES + 1, lag + 1], ln Hz along that path, 0 where unvoiced
    held: Floats  # [B], ln Hz
    unvoiced_for: npt.NDArray[np.int64]  # [B], hops
    silent: npt.NDArray[np.bool_]  # [B, lag], the latest hops whose pitch is not decided


class PitchTracker:
    """Decides ln f0 of every hop `lag` hops later. Deterministic, float64."""

    def __init__(self, lag: int = LAG) -> None:
        self.lag = lag

    def start(self, batch: int) -> PitchState:
        """The state after a long silence."""
        score = np.full((batch, N_PITCHES + 1), -SWITCH_COST)
        score[:, -1] = 0
        return PitchState(
            band=np.zeros((batch, len(_BAND), 2)),
            heard=np.zeros((batch, LONGEST + WINDOW - HOP)),
            score=score,
            trail=np.zeros((batch, N_PITCHES + 1, self.lag + 1)),
            held=np.full(batch, NEUTRAL),
            unvoiced_for=np.full(batch, HOLD + 1),
            silent=np.ones((batch, self.lag), np.bool_),
        )

    def push(self, state: PitchState, audio: Floats, silent: npt.NDArray[np.bool_]) -> Floats:
        """ln f0 [B, H] of the hops `lag` before those of audio [B, H * HOP * DECIMATION]; moves the state on.

        silent [B, H] marks the hops of digital silence. Unvoiced hops carry the last pitch, later NEUTRAL.
        """
        band, filtered_state = sosfilt(_BAND, audio, axis=1, zi=state.band.transpose(1, 0, 2))
        state.band = np.where(np.abs(filtered_state) < TINY, 0, filtered_state).transpose(1, 0, 2)
        heard = np.concatenate([state.heard, band[:, ::DECIMATION]], axis=1)
        state.heard = heard[:, -state.heard.shape[1] :]
        scores = _correlations(heard) @ _AT_PERIODS - LAG_COST * _PERIODS  # [B, H, N_PITCHES]
        pitches = _refined(scores)
        marks = np.concatenate([state.silent, silent], axis=1)
        state.silent = marks[:, silent.shape[1] :]
        out = np.empty(silent.shape)
        for hop in range(silent.shape[1]):
            decided = _advance(state, scores[:, hop], pitches[:, hop])
            out[:, hop] = _hold(state, decided, marks[:, hop])
        return out


def _correlations(heard: Floats) -> Floats:
    """[B, H, LONGEST + 1]: of the WINDOW before each hop's end with what lay LONGEST ... 0 samples earlier."""
    spans = np.lib.stride_tricks.sliding_window_view(heard, LONGEST + WINDOW, axis=1)[:, ::HOP]
    n_fft = 512
    latest = np.conj(rfft(spans[..., LONGEST:], n_fft, axis=-1))
    products = irfft(latest * rfft(spans, n_fft, axis=-1), n_fft, axis=-1)[..., : LONGEST + 1]
    sums = np.cumsum(np.square(spans), axis=-1)
    energy = sums[..., WINDOW - 1 :].copy()
    energy[..., 1:] -= sums[..., :LONGEST]
    energy = np.maximum(energy, 0) + QUIETEST
    correlations: Floats = products / np.sqrt(energy * energy[..., -1:])
    return correlations


def _refined(scores: Floats) -> Floats:
    """ln Hz [..., N_PITCHES] of the peak of a parabola through each pitch and its two neighbours."""
    low, mid, high = scores[..., :-2], scores[..., 1:-1], scores[..., 2:]
    bend = np.minimum(low - 2 * mid + high, -1e-9)
    out = np.broadcast_to(_LN_PITCHES, scores.shape).copy()
    out[..., 1:-1] += _LN_STEP * np.clip(0.5 * (low - high) / bend, -0.5, 0.5)
    return out


def _advance(state: PitchState, score: Floats, pitch: Floats) -> Floats:
    """One hop of the search; ln f0 [B] of `lag` hops ago, 0 where unvoiced."""
    rows = np.arange(len(score))[:, None]
    options = state.score[:, _SOURCES] - _COSTS  # [B, N_PITCHES, 2 * REACH + 2]
    came_from = _SOURCES[np.arange(N_PITCHES), options.argmax(axis=2)]
    best = state.score[:, :-1].argmax(axis=1)[:, None]
    unvoiced, end = state.score[:, -1:], state.score[rows, best] - SWITCH_COST
    new = np.concatenate([options.max(axis=2) + score, np.maximum(unvoiced, end) + UNVOICED], axis=1)
    back = np.concatenate([came_from, np.where(end > unvoiced, best, N_PITCHES)], axis=1)
    now = np.concatenate([pitch, np.zeros_like(unvoiced)], axis=1)
    state.score = new - new.max(axis=1, keepdims=True)
    state.trail = np.concatenate([state.trail[rows, back, 1:], now[..., None]], axis=2)
    decided: Floats = state.trail[rows[:, 0], state.score.argmax(axis=1), 0]
    return decided


def _hold(state: PitchState, decided: Floats, silent: npt.NDArray[np.bool_]) -> Floats:
    """[B]: the pitch decided; the one before while unvoiced; NEUTRAL in silence and after HOLD hops."""
    is_voiced = decided > 0
    state.unvoiced_for = np.where(is_voiced, 0, state.unvoiced_for + 1)
    forget = silent | (state.unvoiced_for > HOLD)
    state.held = np.where(is_voiced, decided, np.where(forget, NEUTRAL, state.held))
    return state.held
