"""Using a trained model: text to z and back."""
