"""What train_accelerate.py is made of."""
