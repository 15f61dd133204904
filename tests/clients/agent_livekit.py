"""Run by the clients' own interpreter: LiveKit's OpenAI TTS against the server named first. Prints what came as JSON."""

import asyncio
import json
import sys

from livekit.agents import APIConnectOptions, APIStatusError, tokenize, tts, utils
from livekit.plugins import openai

OPTIONS = APIConnectOptions(max_retry=0, timeout=60)


async def main(
    base_url: str, voice: str, text: str, response_format: str = "", model: str = "", way: str = "whole"
) -> dict[str, object]:
    """Empty options are LiveKit's own defaults; the way is the whole text at once, or words as a language model gives them."""
    options = {name: value for name, value in (("response_format", response_format), ("model", model)) if value}
    async with utils.http_context.open():
        speech = openai.TTS(base_url=base_url, api_key="any", voice=voice, **options)
        try:
            return await (
                heard(speech.synthesize(text, conn_options=OPTIONS)) if way == "whole" else by_words(speech, text)
            )
        except APIStatusError as error:
            return {"error": type(error).__name__, "status": error.status_code, "message": str(error)}
        finally:
            await speech.aclose()


async def by_words(speech: openai.TTS, text: str) -> dict[str, object]:
    """As an agent's session does: words come in, whole sentences are asked for."""
    adapter = tts.StreamAdapter(tts=speech, sentence_tokenizer=tokenize.basic.SentenceTokenizer())
    stream = adapter.stream(conn_options=OPTIONS)
    for word in text.split():
        stream.push_text(word + " ")
    stream.end_input()
    return await heard(stream)


async def heard(stream: tts.ChunkedStream | tts.SynthesizeStream) -> dict[str, object]:
    rates, samples, loudest = set(), 0, 0
    async with stream:
        async for event in stream:
            rates.add(event.frame.sample_rate)
            samples += event.frame.samples_per_channel
            loudest = max(loudest, *(abs(value) for value in memoryview(event.frame.data).cast("B").cast("h")), 0)
    return {"rates": sorted(rates), "samples": samples, "loudest": loudest}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
