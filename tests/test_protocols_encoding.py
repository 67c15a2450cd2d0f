"""Sound in memory: what goes in comes out, garbage is one error, and a Ctrl-C is never lost in libsndfile."""

import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from protocols.encoding import Container, decoded, encoded, flac_of, to_pcm16
from protocols.errors import InputError

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 24000 * 40).astype(np.float32)
FILE = flac_of(NOISE)


@pytest.mark.parametrize("container", ["FLAC", "WAV"])
def test_pcm_comes_back_to_the_bit(container: Container) -> None:
    pcm = to_pcm16(np.stack([NOISE[:24000], -NOISE[:24000]], axis=1))
    sound = decoded(encoded(pcm, 16000, container), "a test")
    assert sound.sample_rate == 16000
    assert sound.samples.shape == (2, 24000)
    assert np.array_equal(np.rint(sound.samples.T * 32768).astype(np.int16), pcm)


def test_bytes_that_are_no_sound_are_one_error() -> None:
    with pytest.raises(InputError, match="the peer sent 5 bytes that are no sound file"):
        decoded(b"<xml>", "the peer")
    with pytest.raises(InputError, match="no sound file"):
        decoded(b"", "the peer")


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("work", [lambda: flac_of(NOISE), lambda: decoded(FILE, "a test")], ids=["encode", "decode"])
def test_an_interrupt_while_libsndfile_works_is_heard(work: Callable[[], object]) -> None:
    """Both directions call back into Python all the time, and what is raised in a callback is lost."""
    for delay in np.linspace(0.001, 0.02, 12):
        alarm = threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            _until_over(alarm, work)


def _until_over(alarm: threading.Timer, work: Callable[[], object]) -> None:
    alarm.start()
    while alarm.is_alive():
        work()
    time.sleep(0.01)
