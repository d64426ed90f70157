"""The four ways to serve the same two Node processes that are compared."""

import json
import shutil
import socket
import subprocess

from common import CACHE, GROUNDCREW, HERE, PROCESSES, Peer, find, free_port, wait_until

BACKLOG = 4096


class SharedSocket(Peer):
    """Unsupervised: two processes on one listening socket, as fast as it gets."""

    name = "shared_socket"

    def start(self):
        with socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG) as listener:
            # Node's own handle for fd 3 is made in listen_fd3.js.
            script = 'exec 3<&0 </dev/null; exec node --require "$0/listen_fd3.js" "$0/hello.js"'
            for _ in range(PROCESSES):
                self.spawn(["sh", "-c", script, HERE], stdin=listener)


class Groundcrew(Peer):
    """The same processes under the agent."""

    name = "groundcrew"

    def __init__(self, app="hello.js", files=("hello.js",)):
        super().__init__()
        self.app, self.files = app, files
        self.socket = self.home / "run/control.sock"
        self.source = f"file://{self.home}/source"

    def start(self):
        (self.home / "source").mkdir()
        self.publish("v1")
        (self.home / "config.toml").write_text(
            f'environment = "bench"\nsource = "{self.source}"\n'
            f'state_dir = "{self.home}/state"\nrun_dir = "{self.home}/run"\n'
            f'[poll]\ninterval = "1s"\n[http]\nlisten = "127.0.0.1:{free_port()}"\n'
            '[logs.to]\nkind = "none"\n[metrics.to]\nkind = "none"\n'
        )
        self.agent = self.spawn([GROUNDCREW, "agent", "--config", self.home / "config.toml"])
        wait_until("the agent serves", lambda: self.status().get("state") == "serving")

    def is_complete(self):
        # The agent says `serving` when all of them are ready.
        return True

    def publish(self, version):
        release = self.home / "build" / version
        release.mkdir(parents=True)
        for name in self.files:
            shutil.copy(HERE / name, release)
        (release / "release.toml").write_text(
            f'[tier.web]\ncommand = ["node", "{self.app}"]\nport = {self.port}\n'
            f'processes = {PROCESSES}\nbleed = "10s"\nstop = "2s"\n'
            'ready = { path = "/health", within = "20s" }\n[trial]\nfor = "1s"\n'
        )
        self.command("publish", release, "--source", self.source, "--version", version,
                     "--promote", "bench")

    def command(self, *words):
        words = [GROUNDCREW, *map(str, words)]
        environment = {"GROUNDCREW_SOCKET": str(self.socket), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        if done.returncode not in (0, 1, 3):
            raise SystemExit(f"bench: {' '.join(words)}: {done.stderr}")
        return done

    def status(self):
        shown = self.command("status", "--json")
        return json.loads(shown.stdout) if shown.stdout.startswith("{") else {}


class Pm2(Peer):
    """PM2's cluster mode."""

    name = "pm2"
    program = find("pm2", CACHE / "bench-node/node_modules/.bin/pm2")

    def start(self):
        self.environment = {"PM2_HOME": str(self.home / "pm2"), "PORT": str(self.port)}
        start = [self.program, "start", HERE / "hello.js", "-i", PROCESSES, "--name", "hello"]
        if self.spawn(start, env=self.environment).wait() != 0:
            raise SystemExit("bench: pm2 start failed")

    def is_complete(self):
        return self.count_listening("pm2/logs/*.log") == PROCESSES

    def stop(self):
        self.spawn([self.program, "kill"], env=self.environment).wait()


class Nginx(Peer):
    """nginx as a proxy in front of two processes, connections to them kept."""

    name = "nginx"
    program = find("nginx", "/usr/sbin/nginx")

    def start(self):
        ports = [free_port() for _ in range(PROCESSES)]
        for port in ports:
            self.spawn(["node", HERE / "hello.js"], env={"PORT": str(port)})
        wait_until("the processes behind nginx listen", self.is_complete)
        # A failed connection must not take a server out for ten seconds: one blip would then be
        # the whole figure.
        servers = "".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        (self.home / "nginx.conf").write_text(f"""
            worker_processes {PROCESSES};
            pid {self.home}/nginx.pid;
            error_log {self.home}/error.log;
            daemon off;
            events {{ worker_connections 4096; }}
            http {{
                access_log off;
                keepalive_requests 1000000000;
                client_body_temp_path {self.home}/body;
                proxy_temp_path {self.home}/proxy;
                fastcgi_temp_path {self.home}/fastcgi;
                uwsgi_temp_path {self.home}/uwsgi;
                scgi_temp_path {self.home}/scgi;
                upstream app {{ {servers} keepalive 128; }}
                server {{
                    listen 127.0.0.1:{self.port} backlog={BACKLOG};
                    location / {{
                        proxy_pass http://app;
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                    }}
                }}
            }}
        """)
        self.spawn([self.program, "-c", self.home / "nginx.conf", "-p", self.home])
