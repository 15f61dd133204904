"""What a server remembers and does between HTTP and the model: voices, prompts, jobs, logs, settings. Knows no HTTP."""
