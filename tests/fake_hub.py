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
from urllib.parse import unquote, urlsplit

COMMITS = {"main": "a" * 40, "step1": "b" * 40, "step2": "a" * 40, "step4": "c" * 40}
CONFIG = json.dumps({"model_type": "gpt_neox", "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8}
                    | {"intermediate_size": 2048, "max_position_embeddings": 2048, "vocab_size": 50304})  # fmt: skip
# By commit: step2 has main's weights, step1 its own; step4 only pickled ones.
FILES = {
    "a" * 40: {"config.json": CONFIG, "tokenizer.json": "{}", "model.safetensors": "the last weights"},
    "b" * 40: {"config.json": CONFIG, "tokenizer.json": "{}", "model.safetensors": "the first weights"},
    "c" * 40: {"config.json": CONFIG, "tokenizer.json": "{}", "pytorch_model.bin": "pickled"},
}
REPOSITORY = "EleutherAI/pythia-70m"
GATED = "org/gated"


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
        if parts[:2] == ["api", "models"]:
            self._api("/".join(parts[2:4]), parts[4:])
        else:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

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
        commit = COMMITS.get(revision) or (revision if revision in FILES else None)
        if commit is None:
            self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        return commit

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


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
