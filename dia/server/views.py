"""Stored things as JSON: what clients of both generations read, with our additions. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dia.service.adapters import AdapterFile
from dia.service.clock import iso_utc, iso_utc_or_none
from dia.service.job import Job, QueueStats
from dia.service.logs import LogEntry
from dia.service.prompts import PromptInfo
from dia.service.request import SpeechPlan
from dia.service.voices import Voice

__all__ = [
    "MODEL_NAMES",
    "adapter_view",
    "counted",
    "job_view",
    "log_view",
    "mapping_view",
    "memory_pressure",
    "openai_model_view",
    "openai_voice_view",
    "plan_view",
    "prompt_metadata_view",
    "prompt_view",
    "stats_view",
    "upload_view",
    "voice_view",
]

# Ours, then the names that OpenAI's clients have built in.
MODEL_NAMES = ("dia", "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
HIGH_PRESSURE = 0.85  # of a GPU's memory
_MODEL_CREATED = 1_745_193_600  # the day the model was published, 21 April 2025


def counted(number: int, thing: str) -> str:
    """`1 log`, `2 logs`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def openai_model_view(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _MODEL_CREATED, "owned_by": "nari-labs"}


def adapter_view(adapter: AdapterFile, voices: Sequence[Voice]) -> dict[str, Any]:
    """One adapter in GET /adapters, with the ids of those of all `voices` that speak with it."""
    return {
        "id": adapter.id, "size_bytes": adapter.size_bytes, "modified_at": iso_utc(adapter.modified_at),
        "voices": [voice.id for voice in voices if voice.adapter == adapter.id],
    }  # fmt: skip


def voice_view(voice: Voice) -> dict[str, Any]:
    """One voice in GET /voices. `id`, `voice_id` and `lang` are read by different clients."""
    return {
        "id": voice.id, "voice_id": voice.id, "name": voice.name, "description": voice.description,
        "style": voice.style, "lang": voice.language, "primary_speaker": voice.primary_speaker,
        "has_audio_prompt": bool(voice.speakers), "speaker_count": voice.speaker_count, "builtin": voice.builtin,
        "preview_url": f"/preview/{voice.id}",
    }  # fmt: skip


def mapping_view(voice: Voice) -> dict[str, Any]:
    """One voice in GET /voice_mappings."""
    return {
        "style": voice.style, "primary_speaker": voice.primary_speaker, "audio_prompt": voice.audio_prompt,
        "audio_prompt_transcript": voice.audio_prompt_transcript, "name": voice.name,
        "description": voice.description, "language": voice.language,
        "speakers": {tag: asdict(speaker) for tag, speaker in voice.speakers.items()},
        "seed": voice.seed, "voice_seed": voice.seed, "defaults": dict(voice.defaults), "adapter": voice.adapter,
        "builtin": voice.builtin,
        "created_at": iso_utc(voice.created_at), "updated_at": iso_utc(voice.updated_at),
    }  # fmt: skip


def openai_voice_view(voice: Voice) -> dict[str, Any]:
    """One voice for clients of the OpenAI kind: Open WebUI reads `id` and `name`, Home Assistant one of `id`,
    `voice_id` and `value`, SillyTavern's TTS WebUI provider `value` and `label`."""
    return {"id": voice.id, "name": voice.name, "voice_id": voice.id, "value": voice.id, "label": voice.name}


def prompt_view(info: PromptInfo) -> dict[str, Any]:
    """One prompt in GET /audio_prompts; `file_path` is where to listen to it, never a place on the disk."""
    return {
        "file_path": f"/audio_prompts/{info.id}/audio", "duration": round(info.duration_s, 3),
        "sample_rate": info.sample_rate_hz, "exists": True, "name": info.name, "transcript": info.transcript,
        "source": info.source, "uploaded_at": iso_utc(info.uploaded_at), "size_bytes": info.size_bytes,
        "warnings": list(info.warnings),
    }  # fmt: skip


def prompt_metadata_view(info: PromptInfo) -> dict[str, Any]:
    """One prompt in GET /audio_prompts/metadata."""
    return {
        "prompt_id": info.id, "file_path": f"/audio_prompts/{info.id}/audio", "name": info.name,
        "duration": round(info.duration_s, 3), "sample_rate": info.sample_rate_hz, "transcript": info.transcript,
        "transcript_source": info.transcript_source, "language": info.language, "hash": info.sha256,
        "discovered_at": iso_utc(info.uploaded_at), "source": info.source, "container": info.container,
        "report": dict(info.report), "warnings": list(info.warnings),
    }  # fmt: skip


def upload_view(info: PromptInfo) -> dict[str, Any]:
    """The answer to an upload, with what the check found."""
    return {
        "message": f"Audio prompt '{info.id}' uploaded", "prompt_id": info.id, "duration": round(info.duration_s, 3),
        "sample_rate": info.sample_rate_hz, "original_sample_rate": info.original_sample_rate_hz, "channels": "mono",
        "transcript": info.transcript, "transcript_source": info.transcript_source, "report": dict(info.report),
        "warnings": list(info.warnings),
    }  # fmt: skip


def job_view(job: Job) -> dict[str, Any]:
    """One job; `text` is empty once it has ended, unless texts are shown."""
    request, progress = job.request, job.progress
    return {
        "id": job.id, "job_id": job.id, "status": job.status, "created_at": iso_utc(job.created_at),
        "started_at": iso_utc_or_none(job.started_at), "completed_at": iso_utc_or_none(job.finished_at),
        "text": request.text, "processed_text": job.processed_text, "voice_id": request.voice, "response_format": request.format, "speed": request.speed,
        "role": request.role, "temperature": request.temperature, "cfg_scale": request.cfg_scale,
        "top_p": request.top_p, "max_tokens": request.max_tokens, "seed": job.seed, "adapter": request.adapter,
        "priority": job.priority, "audio_prompt_used": job.prompt_id is not None, "attempts": job.attempts,
        "worker_id": job.worker, "log_id": job.log_id,
        "generation_time": job.generation_s, "duration": job.audio_duration_s,
        "real_time_factor": job.real_time_factor, "file_path": job.file_name, "file_size": job.result_size,
        "sha256": job.result_sha256, "error_code": job.error_code, "error_message": job.error_message,
        "warnings": list(job.warnings),
        "progress": {
            "percent": progress.percent, "audio_seconds": round(progress.audio_duration_s, 3),
            "eta_seconds": None if progress.eta_s is None else round(progress.eta_s, 1),
        },
        "position": progress.position,
        "result_url": f"/jobs/{job.id}/result" if job.status == "completed" else None,
        "expires_at": iso_utc_or_none(job.expires_at),
    }  # fmt: skip


def log_view(entry: LogEntry) -> dict[str, Any]:
    """One row of the generation log; texts are null unless `show_prompts` was on when it was made."""
    return {
        "id": entry.id, "timestamp": iso_utc(entry.created_at), "status": entry.status, "text": entry.text,
        "processed_text": entry.processed_text, "text_chars": entry.text_chars, "voice": entry.voice,
        "audio_prompt_used": entry.prompt_id is not None, "voice_prompt_id": entry.prompt_id,
        "response_format": entry.format, "speed": entry.speed, "seed": entry.seed,
        "parameters": dict(entry.parameters), "warnings": list(entry.warnings), "device": entry.device,
        "job_id": entry.job_id, "request_id": entry.request_id, "tokens": entry.frames,
        "audio_duration": entry.audio_duration_s, "queue_time": entry.queue_s,
        "time_to_first_audio": entry.first_byte_s, "generation_time": entry.generation_s,
        "real_time_factor": entry.real_time_factor, "file_path": entry.file_name, "file_size": entry.file_size,
        "sha256": entry.sha256, "error": entry.error_message, "error_code": entry.error_code,
    }  # fmt: skip


def stats_view(stats: QueueStats, gpu_memory: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """GET /queue/stats; `gpu_memory` as `dia.server.gpus` tells it."""
    return {
        **{name: value for name, value in asdict(stats).items() if name != "workers"},
        "workers": [asdict(worker) for worker in stats.workers],
        "memory_pressure": memory_pressure(gpu_memory),
    }


def memory_pressure(gpu_memory: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """The used share of each GPU's memory, 0 to 1, and whether that is much."""
    shares = {name: 1.0 - memory["free_gb"] / memory["total_gb"] for name, memory in gpu_memory.items()}
    return {
        name: {"pressure": round(share, 3), "status": "high" if share > HIGH_PRESSURE else "normal"}
        for name, share in shares.items()
    }


def plan_view(plan: SpeechPlan, warnings: Sequence[str]) -> dict[str, Any]:
    """What a request would do."""
    return {
        "voice": plan.voice.id, "estimated_seconds": round(plan.estimated_s, 2), "speed": plan.speed,
        "seed": plan.seed, "format": plan.script.format, "speakers": list(plan.script.speakers),
        "audio_prompt": plan.prompt_id, "adapter": plan.request.adapter, "warnings": [*warnings, *plan.warnings],
        "pieces": [
            {
                "text": piece.text, "speakers": list(piece.speakers), "estimated_seconds": round(piece.estimated_s, 2),
                "pause_before": piece.pause_before_s, "bytes": piece.num_bytes,
            }
            for piece in plan.pieces
        ],
    }  # fmt: skip
