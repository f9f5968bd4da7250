"""Training on a subclass of transformers.Trainer."""
