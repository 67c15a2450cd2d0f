"""The server's side of the check of devices: how much of a sound that the page played came back into its microphone.

The same rule measures the echo of every talk afterwards (`echo`), so what passes here is what passes there.
"""

import asyncio

import numpy as np
from fastapi import Request
from fastapi.responses import JSONResponse

from app.live.clock import to_float
from app.live.echo import Echo, echo_return
from app.live.server import Live
from app.live.wire import RATES

LONGEST = 4.0  # seconds


def read_recording(data: bytes, rate: int) -> Echo | None:
    """The echo in a recording, int16: all that was heard, then all that the microphone had meanwhile. None if it is
    no such recording."""
    if rate not in RATES or not data or len(data) % 4 or len(data) > _most(rate):
        return None
    heard, mic = to_float(np.frombuffer(data, "<i2")).reshape(2, -1)
    return echo_return(heard, mic, rate)


def _most(rate: int) -> int:
    return round(LONGEST * rate) * 4


async def answer(live: Live, request: Request, rate: int, one_by_one: asyncio.Lock) -> JSONResponse:
    """What a page is told of the recording it sends. `one_by_one`: no crowd of pages takes the talks' processor."""
    if not live.is_ours(request.headers.get("origin", ""), request.headers.get("host", "")):
        return JSONResponse({"error": "only our own page may ask"}, 403)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _most(max(RATES)):
            return JSONResponse({"error": "too long"}, 413)
    async with one_by_one:
        echo = await asyncio.to_thread(read_recording, bytes(data), rate)
    return JSONResponse({"error": "not a recording"}, 400) if echo is None else JSONResponse(echo._asdict())
