"""A site for tests: Flower's own Fleet connection through the gate, and a real agent behind it, in a thread of the test."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, pull_objects
from flwr.supercore.retry import http_retry
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import fleet_http_connection
from flwr.supernode.fleet_http_client import FleetHttpClient

from aggregator.flower_messages import from_pieces, in_pieces
from federation.protocol.authenticated import open_request, sign_reply
from tests.aggregator.host.consortium import Site, client_context

Handler = Callable[[bytes], bytes]


def _instead_of_ending_the_process(*_, **__):
    raise ConnectionError("Flower would end its process here")


def tame() -> None:
    """Flower's connection ends its process when it is refused; here that would be the test's."""
    fleet_http_connection.flwr_exit = _instead_of_ending_the_process
    for module in (fleet_http_connection, http_retry):
        module.os = SimpleNamespace(kill=_instead_of_ending_the_process, getpid=os.getpid)


def connect(address: str, ca: Path, site: Site):
    """Flower's connection of a SuperNode, with the site's certificate: a context manager of eight functions."""

    class Client(FleetHttpClient):
        @classmethod
        def from_server_address(cls, server_address, insecure, root_certificates, interceptors, *, retry_invoker=None):
            return cls(
                f"https://{server_address}",
                interceptors=interceptors,
                verify=client_context(ca, site),
                retry_invoker=retry_invoker,
            )

    tame()
    original = fleet_http_connection.FleetHttpClient
    fleet_http_connection.FleetHttpClient = Client  # read when the context is entered
    try:
        manager = fleet_http_connection.http_request_response(
            address, insecure=False, authentication_keys=(site.node, site.node.public_key()), max_retries=3
        )
        return manager, manager.__enter__()
    finally:
        fleet_http_connection.FleetHttpClient = original


def signing_handler(handler: Handler, *, site: Site, study: str, coordinator: str) -> Handler:
    """What a site's agent adds to its answers: it checks who asks, and signs."""

    def answer(request: bytes) -> bytes:
        opened = open_request(request, public_key=coordinator, study=study, site=site.name)
        return sign_reply(handler(opened.payload), key=site.identity, study=study, site=site.name, request=request)

    return answer


class FakeSite(threading.Thread):
    """Answers messages until it is stopped; connects again when it was cut off."""

    def __init__(self, address: str, ca: Path, site: Site, handler: Handler) -> None:
        super().__init__(name=f"site-{site.name}", daemon=True)
        self.address, self.ca, self.site, self.handler = address, ca, site, handler
        self.stopped = threading.Event()
        self.answered = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                manager, functions = connect(self.address, self.ca, self.site)
            except (Exception, SystemExit) as failure:  # noqa: BLE001
                self.failures.append(type(failure).__name__)
                self.stopped.wait(1.0)
                continue
            try:
                while not self.stopped.is_set():
                    if not self._answer_one_if_wanted(functions):
                        self.stopped.wait(0.1)
            except Exception as failure:  # noqa: BLE001
                self.failures.append(type(failure).__name__)
                self.stopped.wait(0.5)
            finally:
                manager.__exit__(None, None, None)

    def stop(self) -> None:
        self.stopped.set()
        self.join(20)

    def _answer_one_if_wanted(self, functions) -> bool:
        """As Flower's SuperNode: a message whose run has ended is passed over."""
        try:
            return self._answer_one(functions)
        except RunNotRunningException:
            return False

    def _answer_one(self, functions) -> bool:
        _, receive, send, _, _, pull_object, push_object, confirm = functions
        found = receive()
        if found is None:
            return False
        message, tree = found
        run = message.metadata.run_id
        identifiers = [node.object_id for node in iterate_object_tree(tree)]
        contents = pull_objects(identifiers, lambda identifier: pull_object(run, identifier), initial_backoff=0.1)
        confirm(run, tree.object_id)
        whole = inflate_object_from_contents(tree.object_id, contents)
        reply = self.handler(from_pieces(whole.content))
        message.metadata.__dict__["_message_id"] = tree.object_id
        answer = Message(in_pieces(reply), reply_to=message)
        answer.metadata.__dict__["_message_id"] = answer.object_id
        objects = get_all_nested_objects(answer)
        wanted, session = send(answer, get_object_tree(answer), 0.0)
        for identifier in wanted:
            push_object(run, session, identifier, objects[identifier].deflate())
        self.answered += 1
        return True
