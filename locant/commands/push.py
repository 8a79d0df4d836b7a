# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommand `locant push`."""

import argparse

from locant.commands.command_parser import CommandParser

_DESCRIPTION = (
    "Upload a model from a local folder to the Hub: its weights, config, tokenizer and code, the model card, the "
    "metrics and the loss curve, in one commit. Checkpoints, the state of training, the run's configuration, and files "
    "with texts of the data are not uploaded. The local folder is not changed. Log in once with `hf auth login`."
)


def run(arguments: list[str]) -> None:
    """Push a model to the Hub, and print the URL of the commit or of the pull request."""
    parsed = vars(_parser().parse_args(arguments))

    from locant.hub.sharing.push import push

    print(push(parsed.pop("run"), parsed.pop("repo"), **parsed))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("locant push", description=_DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="folder of a finished run, of a checkpoint, or of a saved model")
    parser.add_argument(
        "repo", metavar="REPO", help="NAME or USER/NAME of the repository, which is created if it does not exist"
    )
    parser.add_argument("--private", action="store_true", help="create the repository as a private repository")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch to push to, which is created if it does not exist (default: main)"
    )
    parser.add_argument("--token", help="access token (default: the token of `hf auth login` or of HF_TOKEN)")
    parser.add_argument("--create_pr", action="store_true", help="open a pull request to main, and leave main as it is")
    parser.add_argument(
        "--commit_message",
        metavar="TEXT",
        help="title of the commit (default: the name of the folder and Locant's version)",
    )
    return parser
