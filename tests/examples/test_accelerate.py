# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The launch configurations of examples/accelerate."""

import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

FOLDER = Path("examples/accelerate").resolve()
PROCESSES = {"two_cpu_processes": 2, "eight_gpus": 8}


@pytest.mark.parametrize("name", PROCESSES)
def test_accelerate_reads_the_configuration(name):
    file = str(FOLDER / f"{name}.yaml")
    assert load_config_from_file(file).num_processes == PROCESSES[name]
    arguments = launch_command_parser().parse_args(["--config_file", file, "-m", "locant", "train"])
    assert _validate_launch_command(arguments)[0].num_processes == PROCESSES[name]


def test_every_configuration_is_tested():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == PROCESSES.keys()


def test_the_slurm_script_is_valid_bash():
    subprocess.run(["bash", "-n", FOLDER / "two_machines.sbatch"], check=True)


@pytest.mark.slow
def test_two_processes_train_on_cpus(toy, tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    command += ["--config_file", str(FOLDER / "two_cpu_processes.yaml"), "-m", "locant"]
    command += toy.arguments(tmp_path / "run", num_train_epochs=1)
    done = subprocess.run(command, env=toy.environment, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '"processes": 2' in (tmp_path / "run" / "metrics.json").read_text()
