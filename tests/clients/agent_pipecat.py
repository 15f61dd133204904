"""Run by the clients' own interpreter: Pipecat's OpenAI TTS service against the server named first. Prints what came as
JSON."""

import asyncio
import json
import sys

from pipecat.frames.frames import EndFrame, ErrorFrame, Frame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.tts import OpenAITTSService


class Listener(FrameProcessor):
    """Keeps what comes out of the pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.sound: list[TTSAudioRawFrame] = []
        self.errors: list[str] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.sound.append(frame)
        if isinstance(frame, ErrorFrame):
            self.errors.append(str(frame.error))
        await self.push_frame(frame, direction)


async def main(base_url: str, voice: str, text: str) -> dict[str, object]:
    before, after = Listener(), Listener()
    service = OpenAITTSService(
        api_key="any", base_url=base_url, settings=OpenAITTSService.Settings(voice=voice, model="gpt-4o-mini-tts")
    )
    task = PipelineTask(Pipeline([before, service, after]))
    await task.queue_frames([TTSSpeakFrame(text), EndFrame()])
    await PipelineRunner(handle_sigint=False).run(task)
    if before.errors or after.errors:  # errors travel upstream
        return {"error": "ErrorFrame", "message": "; ".join(before.errors + after.errors)}
    data = b"".join(frame.audio for frame in after.sound)
    return {
        "rates": sorted({frame.sample_rate for frame in after.sound}),
        "samples": len(data) // 2,
        "loudest": max((abs(value) for value in memoryview(data).cast("h")), default=0),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
