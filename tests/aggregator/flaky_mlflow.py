"""A stand-in for an MLflow server that fails on purpose: before it acts, after it acted, or with an answer that is none."""

import itertools
import json
import threading
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FlakyMlflow:
    """Keeps runs in memory. Every `fail_every`-th request fails, in three ways by turns."""

    def __init__(self, artefacts: Path, *, fail_every: int = 0) -> None:
        self.artefacts, self.fail_every = artefacts, fail_every
        self.runs, self.experiments = {}, {}
        self.requests, self.failures = Counter(), Counter()
        self._ways = itertools.cycle(["before", "after", "garbage"])
        self._number = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, body: dict) -> tuple[int, dict]:
        self.requests[path] += 1
        if path == "experiments/get-by-name":
            found = self.experiments.get(body["experiment_name"])
            return (200, {"experiment": found}) if found else (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
        if path == "experiments/create":
            self.experiments[body["name"]] = {"experiment_id": "1", "name": body["name"], "lifecycle_stage": "active"}
            return 200, {"experiment_id": "1"}
        if path == "runs/search":
            key = body["filter"].split("'")[1]
            return 200, {
                "runs": [self._view(n) for n, run in self.runs.items() if run["tags"]["cohortium.run_key"] == key]
            }
        if path == "runs/create":
            name = uuid.uuid4().hex
            tags = {tag["key"]: tag["value"] for tag in body.get("tags", [])}
            self.runs[name] = {
                "tags": tags,
                "params": {},
                "metrics": [],
                "status": "RUNNING",
                "start": body["start_time"],
            }
            return 200, {"run": self._view(name)}
        run = self.runs[body["run_id"]]
        if path == "runs/log-batch":
            run["tags"] |= {tag["key"]: tag["value"] for tag in body.get("tags", [])}
            run["params"] |= {item["key"]: item["value"] for item in body.get("params", [])}
            run["metrics"] += [
                (point["key"], point["value"], int(point["timestamp"]), int(point.get("step", 0)))
                for point in body.get("metrics", [])
            ]
        elif path == "runs/update":
            run["status"] = body["status"]
        elif path != "runs/get":
            return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}
        return 200, {"run": self._view(body["run_id"]), "run_info": self._view(body["run_id"])["info"]}

    def _view(self, name):
        run = self.runs[name]
        info = {
            "run_id": name, "run_uuid": name, "experiment_id": "1", "status": run["status"], "start_time": run["start"],
            "lifecycle_stage": "active", "artifact_uri": (self.artefacts / name).as_uri(),
        }  # fmt: skip
        return {"info": info, "data": {"tags": [{"key": key, "value": value} for key, value in run["tags"].items()]}}

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                from urllib.parse import parse_qsl, urlsplit

                parts = urlsplit(self.path)
                self._serve(parts.path, dict(parse_qsl(parts.query)))

            def do_POST(self):
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._serve(self.path, json.loads(content or b"{}"))

            def do_PATCH(self):
                self.do_POST()

            def _serve(self, path, body):
                is_due = server.fail_every and next(server._number) % server.fail_every == 0
                way = next(server._ways) if is_due else ""
                if way:
                    server.failures[way] += 1
                if way == "before":
                    return self._reply(503, b'{"error_code": "TEMPORARILY_UNAVAILABLE"}')
                status, answer = server.answer(path.removeprefix("/api/2.0/mlflow/"), body)
                if way == "after":
                    return self.connection.close()
                return self._reply(status, b"<html>bad gateway</html>" if way else json.dumps(answer).encode())

            def _reply(self, status, content):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler
