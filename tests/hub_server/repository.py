# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What the Hub keeps: blobs, commits, and repositories with branches, tags and pull requests."""

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from functools import cached_property

MAIN = "refs/heads/main"
LARGE = ("*.bin", "*.h5", "*.npz", "*.onnx", "*.pt", "*.safetensors", "*.tar.*", "*.zip")  # of the Hub's own many more
GITATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE)
LARGEST_REGULAR = 10_000_000  # bytes

_ticks = itertools.count()


class HubError(Exception):
    """An answer that is no success.

    Args:
        status: of HTTP.
        message: what the Hub says.
        code: its `X-Error-Code`, by which the client chooses the exception.
        headers: further ones.
    """

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers


@dataclass(frozen=True)
class Blob:
    """A file's content; of a large one, git has a pointer only."""

    data: bytes
    is_large: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def in_git(self) -> bytes:
        """What git stores."""
        if not self.is_large:
            return self.data
        lines = "version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {len(self.data)}"
        return "".join(f"{line}\n" for line in lines).encode()

    @cached_property
    def oid(self) -> str:
        """Git's name for it."""
        return hashlib.sha1(b"blob %d\0" % len(self.in_git) + self.in_git).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_large else self.oid


@dataclass(frozen=True)
class Commit:
    """A state of all files, and how it came to be."""

    oid: str
    parent: str | None
    title: str
    author: str
    files: Mapping[str, Blob]
    date: str


@dataclass
class Repository:
    """A model's repository; `large` holds what was uploaded to its large file storage, by SHA-256."""

    repo_id: str
    owner: str
    private: bool = False
    gated: bool = False
    accepted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        attributes = {".gitattributes": Blob(GITATTRIBUTES.encode(), is_large=False)}
        self.refs[MAIN] = self._add(None, attributes, "initial commit", self.owner).oid

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, a tag, a full reference, or a commit's own id."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        if revision in self.commits:
            return self.commits[revision]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def is_large(self, path: str, size: int, revision: str) -> bool:
        """Whether a file belongs into the large file storage, as `.gitattributes` and its size have it."""
        attributes = self.resolve(revision).files.get(".gitattributes")
        lines = attributes.data.decode().splitlines() if attributes else []
        patterns = [line.split()[0] for line in lines if "filter=lfs" in line]
        return size > LARGEST_REGULAR or any(fnmatch(path.rpartition("/")[2], pattern) for pattern in patterns)

    def commit(
        self,
        revision: str,
        change: Callable[[dict[str, Blob]], None],
        title: str,
        author: str,
        parent: str | None = None,
        as_pull_request: bool = False,
    ) -> tuple[Commit, str]:
        """Commit what `change` makes of the files of `revision`: the commit, and the reference that now is there."""
        base = self.resolve(revision)
        ref = next((ref for ref in (f"refs/heads/{revision}", revision) if ref in self.refs), None)
        if as_pull_request:
            ref = f"refs/pr/{1 + sum(name.startswith('refs/pr/') for name in self.refs)}"
        if ref is None or ref.startswith("refs/tags/"):
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if parent is not None and parent != base.oid:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(base.files)
        change(files)
        commit = self._add(base.oid, files, title, author)
        self.refs[ref] = commit.oid
        return commit, ref

    def history(self, revision: str) -> list[Commit]:
        """The commits up to that of `revision`, newest first."""
        commits = [self.resolve(revision)]
        while (parent := commits[-1].parent) is not None:
            commits.append(self.commits[parent])
        return commits

    def _add(self, parent: str | None, files: Mapping[str, Blob], title: str, author: str) -> Commit:
        tick = next(_ticks)  # no two commits have one id
        oid = hashlib.sha1(f"{tick} {parent} {title} {sorted((p, b.oid) for p, b in files.items())}".encode())
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        commit = self.commits[oid.hexdigest()] = Commit(oid.hexdigest(), parent, title, author, files, date)
        return commit
