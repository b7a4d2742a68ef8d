"""The engine that needs PyTorch: GPUs, transformers, pretrained models, several processes.

Nothing imports it but model.py, when it is asked for.
"""
