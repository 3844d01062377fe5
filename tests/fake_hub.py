"""A hub on this machine, for tests of what the real client says: a few repositories, some that are gated or missing.

`python -m tests.fake_hub SCRIPT` runs SCRIPT against it, in this process and with an empty cache.
"""

import hashlib
import json
import os
import runpy
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMITS = {"main": "a" * 40, "step1": "b" * 40, "step2": "a" * 40, "step4": "c" * 40, "shards": "f" * 40}
CONFIG = json.dumps({"model_type": "gpt_neox", "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8}
                    | {"intermediate_size": 2048, "max_position_embeddings": 2048, "vocab_size": 50304})  # fmt: skip
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
# By commit (the environment's MODEL_MAIN moves main): step2 has main's weights, step1 its own; step4 only pickled ones.
FILES = {
    "a" * 40: {"config.json": CONFIG, "tokenizer.json": "{}", "model.safetensors": "the last weights"},
    "b" * 40: {"config.json": CONFIG, "tokenizer.json": "{}", "model.safetensors": "the first weights"},
    "c" * 40: {"config.json": CONFIG, "tokenizer.json": "{}", "pytorch_model.bin": "pickled"},
    "9" * 40: {"config.json": CONFIG, "vocab.json": "{}", "merges.txt": "", "model.safetensors": "as OPT's tokenizer"},
    "f" * 40: {
        **{"config.json": CONFIG, "tokenizer.json": "{}", "tokenizer_config.json": '{"add_bos_token": true}'},
        "model.safetensors.index.json": json.dumps({"weight_map": dict(zip("ab", SHARDS, strict=True))}),
        **{name: f"weights of {name}" for name in SHARDS},
    },
}
REPOSITORY = "EleutherAI/pythia-70m"
GATED = "org/gated"
# A data set of two subsets. Its main is the first of these commits, or what the environment's DATASET_MAIN says.
DATASET = "org/texts"
DATASET_COMMITS = ("d" * 40, "e" * 40)
CARD = """---
configs:
- config_name: en
  data_files: [{split: train, path: "en/train-*.jsonl"}, {split: test, path: en/test.jsonl}]
- config_name: fr
  data_files: fr/*.jsonl
---
"""


def texts(commit: str, name: str) -> list[str]:
    """The documents of a file of the data set."""
    return [f"{name} of {commit[0]}, document {n}: " + "the old house by the sea stands there " * 20 for n in range(40)]


def _dataset(commit: str) -> dict[str, str]:
    names = ("en/train-0.jsonl", "en/train-1.jsonl", "en/test.jsonl", "fr/all.jsonl")
    rows = {name: "".join(json.dumps({"text": text}) + "\n" for text in texts(commit, name)) for name in names}
    return {"README.md": CARD, **rows}


DATASET_FILES = {commit: _dataset(commit) for commit in DATASET_COMMITS}


class Handler(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a model repository."""

    def log_message(self, *arguments: object) -> None:
        """Silent."""

    def do_HEAD(self) -> None:
        """As GET, without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """The API's description of a revision, its branches, or a file."""
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            self._dataset_api("/".join(parts[2:4]), parts[4:])
        elif parts[0] == "datasets":
            self._dataset_file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        elif parts[:2] == ["api", "models"]:
            self._api("/".join(parts[2:4]), parts[4:])
        else:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def do_POST(self) -> None:
        """What the API knows of paths that the body names, as form or JSON."""
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        rows = [row for row in _tree(DATASET_FILES[parts[-1]], "") if row["path"] in paths]
        self._answer(200, rows, {"Content-Type": "application/json"})

    def _dataset_api(self, dataset: str, rest: list[str]) -> None:
        commit = self._dataset_commit(dataset, rest[1] if len(rest) > 1 else "main")
        if commit is None:
            return
        files = DATASET_FILES[commit]
        if rest[:1] == ["tree"]:
            self._answer(200, _tree(files, "/".join(rest[2:])))
        else:
            siblings = [{"rfilename": name, "size": len(text)} for name, text in files.items()]
            self._answer(200, {"id": dataset, "sha": commit, "siblings": siblings, "tags": [], "downloads": 0})

    def _dataset_file(self, dataset: str, revision: str, name: str) -> None:
        commit = self._dataset_commit(dataset, revision)
        if commit is None:
            return
        text = DATASET_FILES[commit].get(name)
        if text is None:
            self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            self._answer(200, text, {"ETag": f'"{_sha1(text)}"', "X-Repo-Commit": commit})

    def _dataset_commit(self, dataset: str, revision: str) -> str | None:
        if dataset != DATASET:
            self._answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = os.environ.get("DATASET_MAIN", DATASET_COMMITS[0]) if revision == "main" else revision
        if commit not in DATASET_COMMITS:
            self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit

    def _api(self, repository: str, rest: list[str]) -> None:
        if not self._there(repository):
            return
        if rest == ["refs"]:
            branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in COMMITS.items()]
            self._answer(200, {"branches": branches, "tags": [], "converts": []})
            return
        commit = self._commit(rest[1] if rest[:1] in (["revision"], ["tree"]) else "main")
        if commit is None:
            return
        files = FILES[commit]
        if rest[:1] == ["tree"]:
            rows = [{"type": "file", "path": n, "size": len(t), "oid": _sha1(t)} | _lfs(n, t) for n, t in files.items()]
            self._answer(200, rows)
            return
        siblings = [{"rfilename": n, "size": len(t), "blobId": _sha1(t)} | _lfs(n, t) for n, t in files.items()]
        self._answer(200, {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings})

    def _file(self, repository: str, revision: str, name: str) -> None:
        if not self._there(repository):
            return
        commit = self._commit(revision)
        if commit is None:
            return
        if name not in FILES[commit]:
            self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        text = FILES[commit][name]
        self._answer(200, text, {"ETag": f'"{_sha1(text)}"', "X-Repo-Commit": commit})

    def _there(self, repository: str) -> bool:
        if repository == GATED:
            self._answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif repository != REPOSITORY:
            self._answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return repository == REPOSITORY

    def _commit(self, revision: str) -> str | None:
        moved = os.environ.get("MODEL_MAIN") if revision == "main" else None
        commit = moved or COMMITS.get(revision) or (revision if revision in FILES else None)
        if commit is None:
            self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        return commit

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _tree(files: dict[str, str], folder: str) -> list[dict[str, object]]:
    """Everything below a folder, the folders among it, as the API tells it."""
    rows: list[dict[str, object]] = []
    for name, text in files.items():
        if name.startswith(f"{folder}/" if folder else ""):
            rows.append({"type": "file", "path": name, "size": len(text), "oid": _sha1(text)})
    folders = {name.rpartition("/")[0] for name in files if "/" in name}
    rows += [{"type": "directory", "path": each, "size": 0, "oid": _sha1(each)} for each in sorted(folders - {folder})]
    return rows


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def _lfs(name: str, text: str) -> dict[str, object]:
    if not name.endswith((".safetensors", ".bin")):
        return {}
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return {"lfs": {"sha256": sha256, "oid": sha256, "size": len(text), "pointerSize": 130}}


def main() -> None:
    """Serve, and run the script that the arguments name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": cache, "HF_HUB_OFFLINE": "0"}
        os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
