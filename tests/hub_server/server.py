# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The Hub's API over HTTP on loopback, and a large file storage on a port of its own.

It answers what `huggingface_hub` asks when models are pushed and pulled, as the Hub does: statuses, headers, error
codes, redirects. Large files go by git-lfs (basic and multipart); there is no Xet storage. Like the Hub's storage,
this one takes signed addresses only, and refuses requests that bring an access token there.
"""

import base64
import hashlib
import json
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from .hub import Hub, card_data
from .large_files import LargeFiles
from .repository import Blob, Commit, HubError, Repository
from .web import Answer, Call, Handler, Route, part_of, route


class HubServer:
    """The two servers, each answering in threads; `hub` is what they serve, and may be exchanged."""

    def __init__(self) -> None:
        self.hub = Hub()
        routes: list[Route] = []
        storage_routes: list[Route] = []
        self.url = _serve(partial(Handler, lambda: self.hub, routes))
        self.storage_url = _serve(partial(Handler, lambda: self.hub, storage_routes))
        self._large = LargeFiles(lambda: self.hub, self.url, self.storage_url)
        routes += [*self._routes(), *self._large.hub_routes]
        storage_routes += self._large.storage_routes

    def _routes(self) -> list[Route]:
        model = "/api/models/{repo_id}"
        return [
            route("GET", "/api/whoami-v2", self._whoami),
            route("POST", "/api/validate-yaml", self._validate_yaml),
            route("POST", "/api/repos/create", self._create),
            route("DELETE", "/api/repos/delete", self._delete),
            route("PUT", f"{model}/settings", self._settings),
            route("GET", f"{model}/refs", self._refs),
            route("GET", f"{model}/revision/{{revision}}", self._info),
            route("GET", f"{model}/tree/{{revision}}(?:/{{path}})?", self._tree),
            route("GET", f"{model}/commits/{{revision}}", self._commits),
            route("POST", f"{model}/paths-info/{{revision}}", self._paths_info),
            route("POST", f"{model}/preupload/{{revision}}", self._preupload),
            route("POST", f"{model}/commit/{{revision}}", self._commit),
            route("POST", f"{model}/branch/{{name}}", self._create_branch),
            route("DELETE", f"{model}/branch/{{name}}", self._delete_branch),
            route("POST", f"{model}/tag/{{revision}}", self._create_tag),
            route("DELETE", f"{model}/tag/{{name}}", self._delete_tag),
            route("GET", model, self._info),
            route("GET|HEAD", "/{repo_id}/resolve/{revision}/{path}", self._resolve),
            route("GET", "/{repo_id}/raw/{revision}/{path}", self._raw),
        ]

    # Who, and which repositories

    def _whoami(self, call: Call) -> Answer:
        if call.user is None:
            raise HubError(401, "Invalid username or password.")
        orgs = [{"type": "org", "name": name} for name in call.user.organizations]
        role = "write" if call.user.may_write else "read"
        token = {"displayName": "tests", "role": role}
        return Answer.of(
            {
                "type": "user",
                "name": call.user.name,
                "orgs": orgs,
                "auth": {"type": "access_token", "accessToken": token},
            }
        )

    def _create(self, call: Call) -> Answer:
        asked = call.json
        namespace = asked.get("organization") or (call.user.name if call.user else "")
        repo_id = f"{namespace}/{asked['name']}"
        url = {"url": f"{self.url}/{repo_id}", "name": repo_id}
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        try:
            self.hub.create(repo_id, call.user, private)
        except HubError as error:
            if error.status == 409:
                return Answer.of({"error": error.message, **url}, 409)
            raise
        return Answer.of(url)

    def _delete(self, call: Call) -> Answer:
        asked = call.json
        namespace = asked.get("organization") or (call.user.name if call.user else "")
        repository = self.hub.writable(f"{namespace}/{asked['name']}", call.user)
        del self.hub.repositories[repository.repo_id]
        return Answer()

    def _settings(self, call: Call) -> Answer:
        repository, asked = self._to_write(call), call.json
        if "visibility" in asked or "private" in asked:
            repository.private = asked.get("visibility") == "private" or bool(asked.get("private"))
        if "gated" in asked:
            repository.gated = bool(asked["gated"])
        return Answer.of({"private": repository.private, "gated": repository.gated})

    # What is in them

    def _info(self, call: Call) -> Answer:
        repository = self.hub.readable(call.parts["repo_id"], call.user)
        commit = repository.resolve(call.parts.get("revision", "main"))
        siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
        if call.asks("blobs"):
            for sibling in siblings:
                entry = _entry(sibling["rfilename"], commit.files[sibling["rfilename"]])
                sibling |= {"size": entry["size"], "blobId": entry["oid"]}
                if "lfs" in entry:
                    sibling["lfs"] = {**entry["lfs"], "sha256": entry["lfs"]["oid"]}
        card = card_data(commit.files["README.md"].data) if "README.md" in commit.files else {}
        info = {
            "id": repository.repo_id,
            "author": repository.repo_id.partition("/")[0],
            "sha": commit.oid,
            "lastModified": commit.date,
            "private": repository.private,
            "gated": "auto" if repository.gated else False,
            "tags": card.get("tags", []),
            "cardData": card,
            "siblings": siblings,
        }
        for name in ("pipeline_tag", "library_name"):
            if name in card:
                info[name] = card[name]
        return Answer.of(info)

    def _refs(self, call: Call) -> Answer:
        repository = self.hub.readable(call.parts["repo_id"], call.user)

        def listed(prefix: str) -> list[dict[str, str]]:
            return [
                {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid}
                for ref, oid in repository.refs.items()
                if ref.startswith(prefix)
            ]

        refs = {"branches": listed("refs/heads/"), "tags": listed("refs/tags/"), "converts": []}
        if call.asks("include_prs"):
            refs["pullRequests"] = [{**entry, "name": entry["ref"]} for entry in listed("refs/pr/")]
        return Answer.of(refs)

    def _tree(self, call: Call) -> Answer:
        commit = self._to_read(call)[1]
        entries = _tree_entries(commit, call.parts.get("path"), call.asks("recursive"))
        if call.asks("expand"):
            last = {"id": commit.oid, "title": commit.title, "date": commit.date}
            entries = [{**entry, "lastCommit": last} for entry in entries]
        start = int(call.query.get("cursor", ["0"])[0])
        stop = start + self.hub.page_size
        path = f"{self.url}/api/models/{call.parts['repo_id']}/tree/{commit.oid}"
        folder = f"/{call.parts['path']}" if call.parts.get("path") else ""
        query = f"?recursive={call.asks('recursive')}&expand={call.asks('expand')}&cursor={stop}"
        link = {"Link": f'<{path}{folder}{query}>; rel="next"'} if stop < len(entries) else {}
        return Answer.of(entries[start:stop], **link)

    def _paths_info(self, call: Call) -> Answer:
        commit = self._to_read(call)[1]
        wanted = parse_qs(call.body.decode()).get("paths", [])
        return Answer.of([_entry(path, commit.files[path]) for path in wanted if path in commit.files])

    def _commits(self, call: Call) -> Answer:
        history = self._to_read(call)[0].history(call.parts["revision"])
        return Answer.of(
            [
                {"id": commit.oid, "title": commit.title, "message": "", "date": commit.date}
                | {"authors": [{"user": commit.author}]}
                for commit in history
            ]
        )

    def _resolve(self, call: Call) -> Answer:
        repository, commit, blob = self._file(call)
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.etag}"'}
        if not blob.is_large:
            return part_of(blob.data, call, headers)
        location = self._large.address(repository, blob.sha256)
        linked = {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.data)), "Location": location}
        return Answer(b"", 302, headers | linked)

    def _raw(self, call: Call) -> Answer:
        _, commit, blob = self._file(call)
        return Answer(blob.in_git, 200, {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.oid}"'})

    def _file(self, call: Call) -> tuple[Repository, Commit, Blob]:
        repository, commit = self._to_read(call)
        blob = commit.files.get(call.parts["path"])
        if blob is None:
            raise HubError(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit.oid})
        return repository, commit, blob

    # Commits

    def _validate_yaml(self, call: Call) -> Answer:
        try:
            data = card_data(call.json["content"].encode())
        except HubError as error:
            return Answer.of({"errors": [{"message": error.message}], "warnings": []}, 400)
        warning = {"message": "empty or missing yaml metadata in repo card"}
        return Answer.of({"errors": [], "warnings": [] if data else [warning]})

    def _preupload(self, call: Call) -> Answer:
        repository = self.hub.writable(call.parts["repo_id"], call.user, call.asks("create_pr"))
        revision = call.parts["revision"]
        present = repository.resolve(revision).files
        files = []
        for asked in call.json["files"]:
            is_large = repository.is_large(asked["path"], asked["size"], revision)
            entry = {"path": asked["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
            if asked["path"] in present:
                entry["oid"] = present[asked["path"]].etag
            files.append(entry)
        return Answer.of({"files": files})

    def _commit(self, call: Call) -> Answer:
        as_pull_request = call.asks("create_pr")
        repository = self.hub.writable(call.parts["repo_id"], call.user, as_pull_request)
        assert call.user is not None
        lines = [json.loads(line) for line in call.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")

        def change(files: dict[str, Blob]) -> None:
            for line in lines:
                _apply(line["key"], line["value"], files, repository)

        commit, ref = repository.commit(
            call.parts["revision"],
            change,
            header["summary"],
            call.user.name,
            header.get("parentCommit"),
            as_pull_request,
        )
        url = f"{self.url}/{repository.repo_id}"
        answer = {"success": True, "commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}"}
        if as_pull_request:
            answer["pullRequestUrl"] = f"{url}/discussions/{ref.rpartition('/')[2]}"
        return Answer.of(answer)

    def _create_branch(self, call: Call) -> Answer:
        repository, asked = self._to_write(call), call.json if call.body else {}
        return self._create_ref(repository, f"refs/heads/{call.parts['name']}", asked.get("startingPoint", "main"))

    def _create_tag(self, call: Call) -> Answer:
        return self._create_ref(self._to_write(call), f"refs/tags/{call.json['tag']}", call.parts["revision"])

    def _create_ref(self, repository: Repository, ref: str, revision: str) -> Answer:
        commit = repository.resolve(revision)
        if "/refs/" in ref:
            raise HubError(400, f"Invalid reference: {ref}")
        if ref in repository.refs:
            raise HubError(409, f"Reference already exists: {ref}")
        repository.refs[ref] = commit.oid
        return Answer.of({"ref": ref, "targetCommit": commit.oid})

    def _delete_branch(self, call: Call) -> Answer:
        return self._delete_ref(call, f"refs/heads/{call.parts['name']}")

    def _delete_tag(self, call: Call) -> Answer:
        return self._delete_ref(call, f"refs/tags/{call.parts['name']}")

    def _delete_ref(self, call: Call, ref: str) -> Answer:
        if self._to_write(call).refs.pop(ref, None) is None:
            raise HubError(404, f"Reference not found: {ref}", "RevisionNotFound")
        return Answer()

    def _to_read(self, call: Call) -> tuple[Repository, Commit]:
        repository = self.hub.files_of(call.parts["repo_id"], call.user)
        return repository, repository.resolve(call.parts["revision"])

    def _to_write(self, call: Call) -> Repository:
        return self.hub.writable(call.parts["repo_id"], call.user)


def _serve(handler: Any) -> str:
    """The address of a server that answers by `handler` until this process ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "oid": blob.oid, "size": len(blob.data)}
    if blob.is_large:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.in_git)}
    return entry


def _tree_entries(commit: Commit, folder: str | None, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below `folder`, in the order of their paths."""
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, blob in sorted(commit.files.items()):
        if not path.startswith(prefix):
            continue
        *parents, _ = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parents) + 1 if recursive else min(len(parents), 1) + 1):
            name = prefix + "/".join(parents[:depth])
            oid = hashlib.sha1(name.encode()).hexdigest()
            entries.setdefault(name, {"type": "directory", "path": name, "oid": oid, "size": 0})
        if recursive or not parents:
            entries[path] = _entry(path, blob)
    if folder and not entries:
        raise HubError(404, f"{folder} does not exist", "EntryNotFound", **{"X-Repo-Commit": commit.oid})
    return list(entries.values())


def _apply(key: str, value: dict[str, Any], files: dict[str, Blob], repository: Repository) -> None:
    """One line of a commit."""
    if key == "file":
        content = base64.b64decode(value["content"])
        if value["path"] == "README.md":
            card_data(content)
        files[value["path"]] = Blob(content, is_large=False)
    elif key == "lfsFile":
        if value["oid"] not in repository.large:
            raise HubError(400, f"The LFS object {value['oid']} of {value['path']} was not uploaded")
        files[value["path"]] = Blob(repository.large[value["oid"]], is_large=True)
    elif key == "deletedFile":
        if files.pop(value["path"], None) is None:
            raise HubError(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")
    elif key == "deletedFolder":
        for path in [path for path in files if path.startswith(f"{value['path'].rstrip('/')}/")]:
            del files[path]
