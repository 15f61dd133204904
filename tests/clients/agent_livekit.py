"""Run by the clients' own interpreter: LiveKit's OpenAI TTS against the server named first. Prints what came as JSON."""

import asyncio
import json
import sys

from livekit.agents import APIConnectOptions, APIStatusError, utils
from livekit.plugins import openai


async def main(base_url: str, voice: str, text: str, response_format: str) -> dict[str, object]:
    async with utils.http_context.open():
        options = {"response_format": response_format} if response_format else {}
        tts = openai.TTS(base_url=base_url, api_key="any", voice=voice, **options)
        try:
            rates, samples, loudest = set(), 0, 0
            async with tts.synthesize(text, conn_options=APIConnectOptions(max_retry=0, timeout=60)) as stream:
                async for event in stream:
                    rates.add(event.frame.sample_rate)
                    samples += event.frame.samples_per_channel
                    loudest = max(
                        loudest, *(abs(value) for value in memoryview(event.frame.data).cast("B").cast("h")), 0
                    )
            return {"rates": sorted(rates), "samples": samples, "loudest": loudest}
        except APIStatusError as error:
            return {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
        finally:
            await tts.aclose()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:5]))))
