"""Members' node keys at the SuperLink: registered when the authority's list names them, unregistered when it does not any more.

What ``flwr supernode register`` would do, from the signed lists. So that a site which is revoked is gone at Flower's level too,
and the coordinator can tell which node is which site by its key, not by what it says.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Final

import httpx
from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, UnregisterNodeRequest

from aggregator.host.revocation import Membership
from aggregator.superlink import control_client

_LOG: Final = logging.getLogger("cohortium.host")
_GONE: Final = "unregistered"


class Registrar:
    """Keeps the SuperLink's nodes equal to the list of members.

    Args:
        address: ``host:port`` of the SuperLink.
        headers: With the token of this host's processes.
        membership: Who may take part.
    """

    def __init__(self, address: str, *, headers: Mapping[str, str], membership: Membership) -> None:
        self._address = address
        self._headers = headers
        self._membership = membership
        self.problem = "not run yet"

    def sync(self) -> None:
        """Register and unregister what differs. Without valid lists nothing is changed.

        Raises:
            ConnectionError: If the SuperLink does not answer.
        """
        lists = self._membership.current()
        if lists is None:
            self.problem = "no lists of members"
            return
        wanted = {member.node_key.encode(): member.site for member in lists.active_members()}
        try:
            refused = self._change(wanted)
        except httpx.HTTPError as failure:
            self.problem = f"the SuperLink does not answer: {type(failure).__name__}"
            raise ConnectionError(self.problem) from failure
        self.problem = f"the SuperLink does not take the node keys of {refused}: they need new ones" if refused else ""

    def sites(self) -> dict[int, str]:
        """Registered nodes by number: which site each one is, by its key.

        Raises:
            ConnectionError: If the SuperLink does not answer.
        """
        lists = self._membership.current()
        members = () if lists is None else lists.active_members()
        site_by_key = {member.node_key.encode(): member.site for member in members}
        try:
            return {node: site_by_key[key] for node, key in self._nodes().items() if key in site_by_key}
        except httpx.HTTPError as failure:
            raise ConnectionError(f"the SuperLink does not answer: {type(failure).__name__}") from failure

    def keep(self, stop: threading.Event, *, seconds: float, report: Callable[[], None] = lambda: None) -> None:
        """Sync again and again until ``stop`` is set."""
        while not stop.is_set():
            try:
                self.sync()
            except ConnectionError as failure:
                _LOG.info("nodes are not registered yet: %s", failure)
            report()
            stop.wait(seconds)

    def _nodes(self) -> dict[int, bytes]:
        client = control_client(self._address, headers=self._headers)
        try:
            found = client.ListNodes(ListNodesRequest()).nodes_info
        finally:
            client.close()
        return {node.node_id: node.public_key for node in found if node.status != _GONE}

    def _change(self, wanted: dict[bytes, str]) -> list[str]:
        """Sites whose key is not taken: a key that was unregistered once stays so for ever."""
        refused: list[str] = []
        present = self._nodes()
        client = control_client(self._address, headers=self._headers)
        try:
            for node, key in present.items():
                if key not in wanted:
                    client.UnregisterNode(UnregisterNodeRequest(node_id=node))
                    _LOG.warning("a node is unregistered: its key is no active member's")
            for key, site in wanted.items():
                if key in present.values():
                    continue
                try:
                    client.RegisterNode(RegisterNodeRequest(public_key=key, name=site))
                    _LOG.info("the node of site %s is registered", site)
                except httpx.HTTPStatusError:
                    refused.append(site)
        finally:
            client.close()
        return refused
