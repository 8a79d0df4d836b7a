# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Large files by git-lfs: the Hub names an address in a separate storage, which receives and returns the files.

As with the Hub's storage, an address is good only with its signature, and a request that brings an access token there
is refused: a token is for the Hub alone.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from .hub import Hub
from .repository import HubError, Repository
from .web import Answer, Call, Route, part_of, route


class LargeFiles:
    """Both sides of it.

    Args:
        hub: gives the Hub of the moment.
        url, storage_url: of the two servers.
    """

    def __init__(self, hub: Callable[[], Hub], url: str, storage_url: str):
        self._hub, self._url, self._storage_url = hub, url, storage_url

    @property
    def hub_routes(self) -> list[Route]:
        """What the Hub answers."""
        return [
            route("POST", "/{repo_id}\\.git/info/lfs/objects/batch", self._batch),
            route("POST", "/{repo_id}\\.git/info/lfs/objects/verify", self._verify),
            route("POST", "/api/complete_multipart/{repo_id}/{oid}", self._complete_multipart),
        ]

    @property
    def storage_routes(self) -> list[Route]:
        """What the storage answers."""
        return [
            route("PUT", "/large/{repo_id}/{oid}", self._put),
            route("PUT", "/large/{repo_id}/{oid}/{number}", self._put_part),
            route("GET|HEAD", "/large/{repo_id}/{oid}", self._get),
        ]

    def address(self, repository: Repository, oid: str) -> str:
        """Where a large file is had."""
        return self._signed(self._storage_url, f"/large/{repository.repo_id}/{oid}")

    def _batch(self, call: Call) -> Answer:
        repository = self._hub().readable(call.parts["repo_id"], call.user)
        if call.user is None:
            raise HubError(401, "Invalid username or password.")
        objects = [self._object(repository, wanted, call.json["transfers"]) for wanted in call.json["objects"]]
        return Answer.of({"transfer": "basic", "objects": objects})

    def _object(self, repository: Repository, wanted: dict[str, Any], transfers: list[str]) -> dict[str, Any]:
        oid, size = wanted["oid"], wanted["size"]
        if oid in repository.large:
            return {"oid": oid, "size": size}
        path = f"/large/{repository.repo_id}/{oid}"
        upload: dict[str, Any] = {"href": self._signed(self._storage_url, path)}
        if size > self._hub().multipart_over and "multipart" in transfers:
            count = -(-size // self._hub().part_size)
            parts = {str(n): self._signed(self._storage_url, f"{path}/{n}") for n in range(1, count + 1)}
            complete = self._signed(self._url, f"/api/complete_multipart/{repository.repo_id}/{oid}")
            upload = {"href": complete, "header": {"chunk_size": str(self._hub().part_size), **parts}}
        verify = {"href": f"{self._url}/{repository.repo_id}.git/info/lfs/objects/verify"}
        return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}

    def _verify(self, call: Call) -> Answer:
        repository = self._hub().readable(call.parts["repo_id"], call.user)
        data = repository.large.get(call.json["oid"])
        if data is None or len(data) != call.json["size"]:
            raise HubError(404, f"Object {call.json['oid']} was not uploaded whole")
        return Answer.of({})

    def _complete_multipart(self, call: Call) -> Answer:
        self._check_signature(call, f"/api/complete_multipart/{call.parts['repo_id']}/{call.parts['oid']}")
        numbers = {part["partNumber"]: part["etag"] for part in call.json["parts"]}
        parts = [(etag, self._hub().parts.pop((call.parts["oid"], number))) for number, etag in numbers.items()]
        if any(etag.strip('"') != hashlib.md5(data).hexdigest() for etag, data in parts):
            raise HubError(400, "One or more of the specified parts could not be found")
        return self._store(call, b"".join(data for _, data in parts))

    def _put(self, call: Call) -> Answer:
        self._check_signature(call, f"/large/{call.parts['repo_id']}/{call.parts['oid']}")
        return self._store(call, call.body)

    def _put_part(self, call: Call) -> Answer:
        number = call.parts["number"]
        self._check_signature(call, f"/large/{call.parts['repo_id']}/{call.parts['oid']}/{number}")
        self._hub().parts[call.parts["oid"], int(number)] = call.body
        return Answer(headers={"ETag": f'"{hashlib.md5(call.body).hexdigest()}"'})

    def _store(self, call: Call, data: bytes) -> Answer:
        if hashlib.sha256(data).hexdigest() != call.parts["oid"]:
            raise HubError(400, "The SHA-256 of what was uploaded is not the one that was announced")
        self._hub().repositories[call.parts["repo_id"]].large[call.parts["oid"]] = data
        return Answer()

    def _get(self, call: Call) -> Answer:
        self._check_signature(call, f"/large/{call.parts['repo_id']}/{call.parts['oid']}")
        data = self._hub().repositories[call.parts["repo_id"]].large[call.parts["oid"]]
        answer = part_of(data, call, {"ETag": f'"{call.parts["oid"]}"'})
        if call.method == "GET":
            hub = self._hub()
            answer.break_after, hub.break_after = hub.break_after, None
        return answer

    def _signed(self, server: str, path: str) -> str:
        return f"{server}{path}?signature={self._hub().signature(path)}"

    def _check_signature(self, call: Call, path: str) -> None:
        if call.query.get("signature") != [self._hub().signature(path)]:
            raise HubError(403, "The signature does not match")
        if "Authorization" in call.headers:
            raise HubError(400, "Only one auth mechanism allowed: an access token came to a signed address")
