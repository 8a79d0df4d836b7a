"""Data, metrics and recipes over the Hugging Face Trainer."""
