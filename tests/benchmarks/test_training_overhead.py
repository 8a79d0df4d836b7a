# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The time between training steps is measured apart from the time in the steps."""

import importlib
from types import SimpleNamespace

import pytest


def test_clock_parts_the_time_after_the_warm_up(monkeypatch):
    module = importlib.import_module("training_overhead")
    # the clock is made at 0; each step begins 1 s after the last one ended, and takes 10 s
    readings = iter([0.0, 1.0, 11.0, 12.0, 22.0, 23.0, 33.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(readings))
    clock = module.StepClock(warm_up=1)
    for step in range(3):
        clock.on_step_begin(None, SimpleNamespace(global_step=step))
        clock.on_step_end(None, SimpleNamespace(global_step=step + 1))
    assert clock.between_steps == pytest.approx(2)
    assert clock.in_steps == pytest.approx(20)
