"""Watches the agent processes of one orchestrator from outside, with the kernel's own means, and says what it sees as JSON lines.

Nothing of it comes from the harness: children and listening sockets are read from /proc, exits from pidfds (Node has none), the
first moment of a death from the kernel's process connector, which stamps with CLOCK_MONOTONIC as process.hrtime does. All
instants are ms of CLOCK_MONOTONIC.

stdin: one line, the orchestrator's pid; the end of stdin ends the watch.
"""

import errno
import json
import os
import re
import select
import socket
import struct
import sys
import time

TICK_MS = 50
AGENT = re.compile(r"/workspaces/(agent-\d+)/spec\.json")
LISTEN, TIME_WAIT = "0A", "06"
# linux/netlink.h, linux/connector.h, linux/cn_proc.h
NETLINK_CONNECTOR, CN_IDX_PROC, CN_VAL_PROC = 11, 1, 1
PROC_CN_MCAST_LISTEN, PROC_EVENT_EXIT = 1, 0x80000000
NLMSG_DONE, HEADERS = 3, 16 + 20


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def now_ms():
    return time.monotonic_ns() / 1e6


def say_offset():
    """CLOCK_REALTIME - CLOCK_MONOTONIC, the tightest of a few readings: packet captures are stamped with the former."""
    best = None
    for _ in range(5):
        before = time.monotonic_ns()
        real = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = (after - before, real - (before + after) // 2, after)
    say(ev="offset", t=best[2] / 1e6, offsetNs=str(best[1]), widthMs=best[0] / 1e6)


def open_connector():
    """The kernel's process events; None where they are not to be had (no root, a container's network namespace)."""
    try:
        connector = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_CONNECTOR)
        connector.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        connector.bind((0, CN_IDX_PROC))
        op = struct.pack("=I", PROC_CN_MCAST_LISTEN)
        message = struct.pack("=IIIIHH", CN_IDX_PROC, CN_VAL_PROC, 0, 0, len(op), 0) + op
        connector.send(struct.pack("=IHHII", 16 + len(message), NLMSG_DONE, 0, 0, os.getpid()) + message)
        connector.setblocking(False)
        return connector
    except OSError as error:
        say(ev="note", text=f"no process connector ({error.strerror}): a death is bracketed, not stamped")
        return None


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


class Watch:
    def __init__(self, orchestrator):
        self.orchestrator = orchestrator
        self.poll = select.poll()
        self.poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
        self.connector = open_connector()
        if self.connector is not None:
            self.poll.register(self.connector, select.POLLIN)
        self.agents = {}  # pid -> agent id, while it lives
        self.pids = {}  # pidfd -> pid
        self.ports = set()
        self.sockets = set()  # (inode, local, remote) already spoken of

    def find_agents(self):
        for task in list_dir(f"/proc/{self.orchestrator}/task"):
            for pid in map(int, read(f"/proc/{self.orchestrator}/task/{task}/children").split()):
                if pid in self.agents:
                    continue
                # Between fork(2) and the end of execve(2) the command line is the parent's, or none: look again next time.
                command = read(f"/proc/{pid}/cmdline").replace("\0", " ")
                found = AGENT.search(command)
                if found is None:
                    continue
                try:
                    pidfd = os.pidfd_open(pid)
                except ProcessLookupError:
                    say(ev="note", text=f"{found[1]} ({pid}) was gone before it could be watched")
                    continue
                self.agents[pid] = found[1]
                self.pids[pidfd] = pid
                self.poll.register(pidfd, select.POLLIN)
                spec = next(part for part in command.split(" ") if AGENT.search(part))
                say(ev="agent", t=now_ms(), agent=found[1], pid=pid, spec=spec)

    def find_sockets(self):
        """Who listens on which port, and which process opened which connection to an agent's port."""
        fresh = []
        for line in read("/proc/net/tcp").splitlines()[1:]:
            fields = line.split()
            local, remote = (int(fields[i].split(":")[1], 16) for i in (1, 2))
            state, inode = fields[3], fields[9]
            key = (inode, local, remote)
            if inode == "0" or state == TIME_WAIT or key in self.sockets:
                continue
            if state == LISTEN or remote in self.ports:
                fresh.append((key, state))
        if not fresh:
            return
        owners = {}
        for pid in self.agents:
            for fd in list_dir(f"/proc/{pid}/fd"):
                try:
                    target = os.readlink(f"/proc/{pid}/fd/{fd}")
                except OSError:
                    continue
                if target.startswith("socket:["):
                    owners[target[8:-1]] = pid
        for key, state in fresh:
            inode, local, remote = key
            pid = owners.get(inode)
            if pid is None:
                # Somebody else's for good, or an agent's that is found at the next tick.
                continue
            self.sockets.add(key)
            if state == LISTEN:
                self.ports.add(local)
                say(ev="listen", t=now_ms(), pid=pid, port=local)
            else:
                say(ev="socket", t=now_ms(), pid=pid, local=local, remote=remote)

    def read_connector(self):
        while True:
            try:
                data = self.connector.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                say(ev="note", text="the process connector lost events")
                return
            what, _cpu, stamp = struct.unpack_from("=IIQ", data, HEADERS)
            if what != PROC_EVENT_EXIT:
                continue
            thread, process, code = struct.unpack_from("=III", data, HEADERS + 16)
            if process in self.agents:
                say(ev="thread_exit", t=stamp / 1e6, pid=process, thread=thread, code=code)

    def run(self):
        next_tick = now_ms()
        next_offset = 0
        while True:
            for fd, _event in self.poll.poll(max(0, next_tick - now_ms())):
                if fd in self.pids:
                    at = now_ms()
                    if self.connector is not None:
                        self.read_connector()
                    pid = self.pids.pop(fd)
                    say(ev="exit", t=at, pid=pid)
                    del self.agents[pid]
                    self.poll.unregister(fd)
                    os.close(fd)
                elif self.connector is not None and fd == self.connector.fileno():
                    self.read_connector()
                elif fd == sys.stdin.fileno() and not os.read(fd, 4096):
                    say_offset()
                    say(ev="end", t=now_ms())
                    return
            if now_ms() >= next_tick:
                self.find_agents()
                if self.agents:
                    self.find_sockets()
                if now_ms() >= next_offset:
                    say_offset()
                    next_offset = now_ms() + 1000
                next_tick = now_ms() + TICK_MS


def list_dir(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def read_pid():
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            sys.exit(0)
        line += byte
    return int(line)


say(ev="ready")
Watch(read_pid()).run()
