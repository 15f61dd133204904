"""Training: corpora, the small codec, models from nothing, and fine-tuning with or without adapters."""
