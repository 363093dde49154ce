"""As much of the Hugging Face hub as reading a repository of data takes, on the loopback interface."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from flask import Flask, Response, abort, jsonify, request, send_file
from werkzeug.serving import WSGIRequestHandler, make_server

REPOSITORY = "somebody/photos"


class Silent(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@contextmanager
def serving_hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Serve a repository of data; its files by their names can be changed meanwhile."""
    files: dict[str, bytes] = {}
    server = make_server("127.0.0.1", 0, hub(files), threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", files
    finally:
        server.shutdown()
        thread.join()


def hub(files: dict[str, bytes]) -> Flask:
    """Return the routes, as https://huggingface.co/docs/hub/api and the client have them."""
    app, about = Flask("hub"), f"/api/datasets/{REPOSITORY}"

    @app.get(about)
    @app.get(f"{about}/revision/main")
    def repository() -> dict[str, object]:
        return {"id": REPOSITORY, "sha": "0" * 40, "siblings": []}

    @app.get(f"{about}/tree/main", defaults={"folder": ""})
    @app.get(f"{about}/tree/main/<path:folder>")
    def tree(folder: str) -> Response:
        below = [name for name in files if not folder or name.startswith(f"{folder}/")]
        if folder and not below:
            abort(404, response=Response(status=404, headers={"X-Error-Code": "EntryNotFound"}))
        rows = {name: row(name) for name in below}
        for name in below:
            rows |= {str(above): row(str(above)) for above in PurePosixPath(name).parents if str(above) != "."}
        wanted = request.args.get("recursive", "").lower() == "true"
        return jsonify(
            [found for name, found in rows.items() if wanted or str(PurePosixPath(name).parent) == (folder or ".")]
        )

    @app.post(f"{about}/paths-info/main")
    def paths() -> Response:
        asked = request.form.getlist("paths")
        return jsonify(
            [row(name) for name in asked if name in files or any(one.startswith(f"{name}/") for one in files)]
        )

    @app.get(f"/datasets/{REPOSITORY}/resolve/main/<path:name>")
    def resolve(name: str) -> Response:
        if name not in files:
            abort(404, response=Response(status=404, headers={"X-Error-Code": "EntryNotFound"}))
        return send_file(BytesIO(files[name]), mimetype="application/octet-stream", conditional=True)

    def row(name: str) -> dict[str, Any]:
        kind = "file" if name in files else "directory"
        return {"type": kind, "path": name, "size": len(files.get(name, b"")), "oid": "0" * 40}

    return app
