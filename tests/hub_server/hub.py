# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Hub without HTTP: users, what they may do, repositories, and a log of what was asked."""

import hashlib
import re
import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

import yaml

from .repository import HubError, Repository

_NAME = re.compile(r"[\w.-]{1,96}", re.ASCII)


@dataclass(frozen=True)
class User:
    """Somebody with an access token."""

    name: str
    organizations: tuple[str, ...] = ()
    may_write: bool = True

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Where they may make repositories."""
        return (self.name, *self.organizations) if self.may_write else ()


@dataclass
class Request:
    """One line of the log: `path` without the query, `range` the header of a part."""

    method: str
    host: str
    path: str
    user: str | None
    range: str | None
    status: int


@dataclass
class Hub:
    """All that is there, and the knobs of tests.

    Args:
        users: by access token.
        repositories: by `namespace/name`.
        requests: what was asked, oldest first.
        multipart_over, part_size: files above so many bytes are uploaded in parts of this size.
        page_size: entries of one answer that lists a tree.
        break_after: the next download of a large file breaks off after so many bytes.
    """

    users: dict[str, User] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    multipart_over: int = 5_000_000_000
    part_size: int = 100_000_000
    page_size: int = 1000
    break_after: int | None = None
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.RLock)
    _secret: str = field(default_factory=lambda: secrets.token_hex(16))

    def create(self, repo_id: str, user: User | None, private: bool) -> Repository:
        """A new repository."""
        namespace, _, name = repo_id.partition("/")
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if namespace not in user.namespaces:
            raise HubError(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
        if not _NAME.fullmatch(name):
            raise HubError(400, f"Invalid repo name: {repo_id} - repo name includes invalid characters")
        if repo_id in self.repositories:
            raise HubError(409, "You already created this model repo")
        repository = self.repositories[repo_id] = Repository(repo_id, user.name, private)
        return repository

    def readable(self, repo_id: str, user: User | None) -> Repository:
        """The repository, if `user` may see it: nobody learns whether another one is private or not there."""
        repository = self.repositories.get(repo_id)
        if repository is not None and (not repository.private or self._owns(repository, user)):
            return repository
        if user is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")

    def files_of(self, repo_id: str, user: User | None) -> Repository:
        """The repository, if `user` may have its files."""
        repository = self.readable(repo_id, user)
        is_accepted = user is not None and user.name in repository.accepted
        if repository.gated and not is_accepted and not self._owns(repository, user):
            message = f"Access to model {repo_id} is restricted."
            raise HubError(401 if user is None else 403, message, "GatedRepo")
        return repository

    def writable(self, repo_id: str, user: User | None, as_pull_request: bool = False) -> Repository:
        """The repository, if `user` may commit to it."""
        repository = self.readable(repo_id, user)
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if not as_pull_request and (not user.may_write or not self._owns(repository, user)):
            raise HubError(403, "Authorization error.")
        return repository

    def _owns(self, repository: Repository, user: User | None) -> bool:
        return user is not None and repository.repo_id.partition("/")[0] in (user.name, *user.organizations)

    def signature(self, path: str) -> str:
        """What makes an address of the large file storage valid."""
        return hashlib.sha256(f"{self._secret} {path}".encode()).hexdigest()[:32]


def card_data(readme: bytes) -> dict[str, Any]:
    """The metadata of a README.md: the YAML between its first lines `---`.

    Raises:
        HubError: it is no mapping, or no YAML.
    """
    found = re.match(r"---\r?\n(.*?)\r?\n---\s*(\n|$)", readme.decode(), re.DOTALL)
    try:
        data = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        raise HubError(400, f"Invalid YAML in README.md: {error}") from error
    if not isinstance(data or {}, dict):
        raise HubError(400, '"metadata" must be of type object')
    return data or {}
