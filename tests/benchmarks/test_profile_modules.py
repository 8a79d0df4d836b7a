# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`make profile`: the time of operations belongs to the modules that run them, in the backward pass too."""

import importlib

import pytest
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(400, 400), nn.Linear(400, 400)])
        self.light = nn.Identity()

    def forward(self, states):
        for layer in self.layers:
            states = layer(states)
        return self.light(states)


@pytest.fixture
def times():
    profile_modules = importlib.import_module("profile_modules")
    model, states = Model(), torch.randn(400, 400)
    model(states).sum().backward()
    return profile_modules.milliseconds_by_module(profile_modules.profiled(lambda: model(states).sum().backward()))


def test_layers_are_summed_under_one_name(times):
    assert {"Model", "Model.layers.*", "Model.light"} <= times.keys()


def test_both_passes_belong_to_the_layers(times):
    forward, backward = times["Model.layers.*"]
    assert min(forward, backward) > sum(times["Model.light"])
    assert forward + backward > 0.5 * sum(map(sum, times.values()))
