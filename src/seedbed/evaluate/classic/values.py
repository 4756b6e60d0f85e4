"""Logistic regression on the values of vectors, standardised one by one."""

from __future__ import annotations

from seedbed.evaluate.classic.pixels import MOST, learn, prepare, render, respond

__all__ = ["MOST", "learn", "prepare", "render", "respond"]
