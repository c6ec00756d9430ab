"""Torch modules only: each file holds one network, readable on one screen."""
