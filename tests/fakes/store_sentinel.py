"""A store with a failover: three servers, and three Sentinels that watch them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from tests.fakes.store_process import StoreProcess, wait_for

NAME = "qg"
DOWN_AFTER_MS = 1500
"""Less is a failover that nobody asked for, now and then: a server of a busy machine stands still for so long."""
FAILOVER_TIMEOUT_MS = 2000


class SentinelProcess(StoreProcess):
    """One Sentinel. It keeps what it knows in its own configuration file."""

    def __init__(self, folder: Path, master_port: int) -> None:
        super().__init__(folder)
        self._master_port = master_port

    def _arguments(self, port: int) -> list[str]:
        file = self._folder / "sentinel.conf"
        if not file.exists():
            lines = (
                f"port {port}",
                "bind 127.0.0.1",
                f"dir {self._folder}",
                f"sentinel monitor {NAME} 127.0.0.1 {self._master_port} 2",
                f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
                f"sentinel failover-timeout {NAME} {FAILOVER_TIMEOUT_MS}",
                f"sentinel parallel-syncs {NAME} 2",
            )
            file.write_text("\n".join(lines) + "\n")
        return [str(file), "--sentinel"]


class SentinelStore:
    """Serves as a StoreProcess does; what is said to one is said to the master of the moment."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = (*options, "--repl-diskless-sync-delay", "0")
        self.servers: list[StoreProcess] = []
        self.sentinels: list[SentinelProcess] = []

    @property
    def url(self) -> str:
        """Where the Sentinels listen, and the group's name."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{s.port}' for s in self.sentinels)}/{NAME}"

    @property
    def processes(self) -> list[StoreProcess]:
        """Servers and Sentinels."""
        return [*self.servers, *self.sentinels]

    @property
    def master(self) -> StoreProcess:
        """The server that the Sentinels call master now."""
        for sentinel in self.sentinels:
            if sentinel.running:
                with sentinel.client() as client:
                    port = int(client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", NAME)[1])
                return next(s for s in self.servers if s.port == port)
        raise RuntimeError("no Sentinel runs")

    def client(self) -> Redis:
        """A blocking client of the master of the moment."""
        return self.master.client()

    def start(self) -> None:
        """Returns when all replicas are in step and the Sentinels know each other and the replicas."""
        first = StoreProcess(self._folder / "server-0", *self._options)
        first.start()
        self.servers = [first]
        for i in (1, 2):
            of = ("--replicaof", "127.0.0.1", str(first.port))
            replica = StoreProcess(self._folder / f"server-{i}", *self._options, *of)
            replica.start()
            self.servers.append(replica)
        with first.client() as client:
            wait_for(lambda: _in_step(client.info("replication")), "replicas in step")
        self.sentinels = [SentinelProcess(self._folder / f"sentinel-{i}", first.port) for i in range(3)]
        for sentinel in self.sentinels:
            sentinel.start()
        wait_for(lambda: all(map(_knows_all, self.sentinels)), "Sentinels that know each other")

    def hand_over(self, old: StoreProcess) -> None:
        """Asks the first Sentinel to take another master than this one, unless it did or is about it.

        It may give that up, such as when another one has not heard of it yet and has the chosen replica follow the old
        master again: who wants it done asks again.
        """
        with self.sentinels[0].client() as sentinel:
            known = sentinel.execute_command("SENTINEL MASTER", NAME)
            if int(known["port"]) != old.port or "failover_in_progress" in known["flags"]:
                return
            try:
                sentinel.execute_command("SENTINEL FAILOVER", NAME)
            except ResponseError as e:
                if not str(e).startswith(("INPROG", "NOGOODSLAVE")):
                    raise

    def kill_master(self) -> StoreProcess:
        """SIGKILL to the master of the moment, which it was."""
        master = self.master
        master.kill()
        return master

    def stop(self) -> None:
        """Ends all that run."""
        for process in (*self.sentinels, *self.servers):
            process.kill()

    kill = stop

    def resume(self) -> None:
        """Nothing of it is paused."""


def _in_step(replication: dict[str, Any]) -> bool:
    replicas = [replication.get(f"slave{i}", {}) for i in (0, 1)]
    return all(r.get("state") == "online" for r in replicas)


def _knows_all(sentinel: SentinelProcess) -> bool:
    with sentinel.client() as client:
        known = client.execute_command("SENTINEL MASTER", NAME)
    return (int(known["num-slaves"]), int(known["num-other-sentinels"])) == (2, 2)
