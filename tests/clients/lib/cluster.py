"""A PostgreSQL server of one's own: in a temporary directory, on a loopback port and a Unix socket."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ALICE = "alice@example.com"


def _root():
    return os.geteuid() == 0


def _as_server(command):
    """PostgreSQL refuses to run as root."""
    if not _root():
        return command
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", "--", *command]


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Door:
    """One role's way into one database."""

    def __init__(self, cluster, database, user, confined):
        self.cluster, self.database, self.user, self.confined = cluster, database, user, confined

    @property
    def options(self):
        return f"-c agent_policy.user_email={ALICE}" if self.confined else ""

    def url(self):
        """As the README has it."""
        base = f"postgresql://{self.user}:{self.cluster.password}@127.0.0.1:{self.cluster.port}/{self.database}"
        return f"{base}?options=-c%20agent_policy.user_email%3D{ALICE.replace('@', '%40')}" if self.confined else base

    def env(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        env.update(
            PGHOST="127.0.0.1",
            PGPORT=str(self.cluster.port),
            PGDATABASE=self.database,
            PGUSER=self.user,
            PGPASSWORD=self.cluster.password,
            PGCONNECT_TIMEOUT="20",
            CLIENT_URL=self.url(),
            CLIENT_EMAIL=ALICE if self.confined else "",
            CLIENT_BINDIR=str(self.cluster.bindir),
            LC_ALL="C.UTF-8",
            PYTHONDONTWRITEBYTECODE="1",
        )
        if self.confined:
            env["PGOPTIONS"] = self.options
        return env


class Cluster:
    def __init__(self, pg_config, conf=""):
        def ask(what):
            return Path(subprocess.run([pg_config, what], capture_output=True, text=True, check=True).stdout.strip())

        self.bindir = ask("--bindir")
        self.password = secrets.token_hex(8)
        self.port = _free_port()
        self.dir = Path(tempfile.mkdtemp(prefix="agent_policy_clients."))
        if _root():
            shutil.chown(self.dir, "postgres", "postgres")
        self.dir.chmod(0o755)
        password = self.dir / "password"
        password.write_text(self.password + "\n")
        if _root():
            shutil.chown(password, "postgres")
        password.chmod(0o600)
        self._must([
            self.bindir / "initdb", "--no-sync", "--auth-host=scram-sha-256", "--auth-local=trust",
            "--username=postgres", f"--pwfile={password}", "--encoding=UTF8", "--locale=C", "-D", self.dir / "data",
        ])
        with open(self.dir / "data/postgresql.conf", "a") as f:
            f.write(
                "shared_preload_libraries = 'agent_policy'\nlisten_addresses = '127.0.0.1'\n"
                f"unix_socket_directories = '{self.dir}'\nport = {self.port}\nfsync = off\n"
                "shared_buffers = 64MB\nmax_connections = 60\nlogging_collector = off\n"
                # Plans that do not depend on when autovacuum came by.
                "autovacuum = off\n"
                f"{conf}\n"
            )
        self.start()
        self.version = int(self.sql("SHOW server_version_num", "postgres").strip()) // 10000

    def _must(self, command, **more):
        command = [str(c) for c in _as_server([str(c) for c in command])]
        run = subprocess.run(command, capture_output=True, text=True, cwd="/", **more)
        if run.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {run.stdout}{run.stderr}")
        return run.stdout

    def start(self):
        log = open(self.dir / "log", "ab")
        self.server = subprocess.Popen(
            _as_server([str(self.bindir / "postgres"), "-D", str(self.dir / "data")]),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
        )
        for _ in range(300):
            try:
                self.sql("SELECT 1", "postgres")
                return
            except RuntimeError:
                if self.server.poll() is not None:
                    raise RuntimeError((self.dir / "log").read_text()) from None
                time.sleep(0.1)
        raise RuntimeError("the server does not start")

    def sql(self, text, database):
        """As superuser."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        run = subprocess.run(
            [str(self.bindir / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.dir), "-p", str(self.port),
             "-U", "postgres", "-d", database],
            input=text, capture_output=True, text=True, env=env, timeout=120,
        )
        if run.returncode != 0:
            raise RuntimeError(f"{run.stderr}\n  in: {text[:400]}")
        return run.stdout

    def stop(self, keep=False):
        if self.server.poll() is None:
            self.server.send_signal(3)
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
