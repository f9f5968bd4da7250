"""Corpora, batches and sample texts. Knows nothing of models."""
