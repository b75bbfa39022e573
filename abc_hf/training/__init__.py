"""The parts of train_accelerate.py."""
