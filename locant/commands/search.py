# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant search`."""

from locant.training.errors import InputError

from .workers import read_workers

_USAGE = "locant search SEARCH.yaml [--workers N] [--option value ...]"
_HELP = """Search for hyperparameters of locant train: each trial is a run of locant train in output_dir/trials/N.

SEARCH.yaml is a file of locant train with one more section:

  search:
    space:                                       # options of locant train, and the values to try
      d_model: [256, 512]
      encoder_layers = decoder_layers: [1, 2]    # two options that have the same value in a trial
      learning_rate: {low: 0.0001, high: 0.01, log: true}      # a range, for random and tpe

Other keys of the section, with defaults in brackets:

  sampler        grid (each combination once; the default), random, or tpe (tree-structured Parzen estimator)
  trials         number of trials, for random and tpe; may be raised later
  cells          instead of a sampler: the combinations to try, each a list of values in the order of space
  repeat_cell    a combination that is trained again with other seeds, to measure the noise of the score
  repeat_seeds   the seeds with which repeat_cell is trained again
  metric         metric on the validation data by which trials are ranked [metric_for_best_model of the runs]
  pruning        true: stop a trial whose best score is worse than the median score of the complete trials at the same
                 evaluation [false]
  seed           seed of the sampler [0]
  workers        number of trials that run at a time, which share the cores [1]; --workers replaces it

All other options are the options of locant train (see locant train --help) and apply to every trial; --dry_run does
a dry run of the first trial and trains nothing.

The results are in output_dir: report.md (trials by rank, effect of each hyperparameter and of each pair, train-dev gap,
pictures), trials.csv, and study.journal, which Optuna reads. The same command resumes a search that was stopped or
killed. Ctrl-C and SIGTERM let the running trials save a checkpoint first."""


def run(arguments: list[str]) -> None:
    """Run the trials of the search that are not finished yet, and write the report."""
    workers, rest = read_workers("locant search", arguments, usage=_USAGE, description=_HELP)
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise InputError(f"locant search needs Optuna ({error}): pip install 'locant[search]'.") from error

    # imported here, because --help would take longer with these modules
    from locant.studies.search import run_search
    from locant.studies.search_config import parse_search

    report = run_search(parse_search(rest, workers))
    if report is not None:
        print(f"The report is {report}")
