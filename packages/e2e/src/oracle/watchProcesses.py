"""Watches the agent processes of one orchestrator from outside, with the kernel's own means, and says what it sees as JSON lines.

Nothing of it comes from the harness: children are read from /proc, exits from pidfds (Node has none), the first moment of a death
from the kernel's process connector, which stamps with CLOCK_MONOTONIC as process.hrtime does, listening ports from sock_diag.
Whose a connection is, is asked of sock_diag when its SYN passes: many sockets of a storm live too short to be found by polling.
All instants are ms of CLOCK_MONOTONIC.

stdin: one line, the orchestrator's pid; the end of stdin ends the watch.
"""

import ctypes
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
OFFSET_EVERY_MS = 1000
AGENT = re.compile(r"/workspaces/(agent-\d+)/spec\.json")
LOOPBACK = socket.inet_aton("127.0.0.1")

NLMSG_ERROR, NLMSG_DONE = 2, 3
NETLINK_HEADER = 16
# linux/connector.h, linux/cn_proc.h
NETLINK_CONNECTOR, CN_IDX_PROC, CN_VAL_PROC, CONNECTOR_HEADER = 11, 1, 1, 20
PROC_CN_MCAST_LISTEN, PROC_EVENT_EXIT = 1, 0x80000000
# linux/sock_diag.h, linux/inet_diag.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLM_F_DUMP = 4, 20, 1, 0x300
TCP_LISTEN, ALL_STATES, NO_COOKIE = 10, 0xFFFFFFFF, 0xFFFFFFFF
INODE_OFFSET = NETLINK_HEADER + 4 + 48 + 16
# linux/if_packet.h, asm-generic/socket.h
ETH_P_IP, PACKET_OUTGOING, SO_ATTACH_FILTER, SO_RCVBUFFORCE = 0x0800, 4, 26, 33
# tcpdump -dd -i lo 'ip and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn'
SYN_FILTER = [
    (0x28, 0, 0, 0x0000000C),
    (0x15, 0, 9, 0x00000800),
    (0x30, 0, 0, 0x00000017),
    (0x15, 0, 7, 0x00000006),
    (0x28, 0, 0, 0x00000014),
    (0x45, 5, 0, 0x00001FFF),
    (0xB1, 0, 0, 0x0000000E),
    (0x50, 0, 0, 0x0000001B),
    (0x54, 0, 0, 0x00000012),
    (0x15, 0, 1, 0x00000002),
    (0x06, 0, 0, 0x00040000),
    (0x06, 0, 0, 0x00000000),
]


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
        # Force: the usual limit holds some hundred events, and those of all processes of the machine come.
        connector.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        connector.bind((0, CN_IDX_PROC))
        op = struct.pack("=I", PROC_CN_MCAST_LISTEN)
        message = struct.pack("=IIIIHH", CN_IDX_PROC, CN_VAL_PROC, 0, 0, len(op), 0) + op
        connector.send(struct.pack("=IHHII", NETLINK_HEADER + len(message), NLMSG_DONE, 0, 0, os.getpid()) + message)
        connector.setblocking(False)
        return connector
    except OSError as error:
        say(ev="note", text=f"no process connector ({error.strerror}): a death is bracketed, not stamped")
        return None


def open_syn_tap():
    """Every SYN on the loopback interface."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in SYN_FILTER)
    buffer = ctypes.create_string_buffer(program)
    tap.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(SYN_FILTER), ctypes.addressof(buffer)))
    tap.bind(("lo", ETH_P_IP))
    tap.setblocking(False)
    return tap


class SocketTable:
    """The kernel's TCP sockets over IPv4, by sock_diag(7)."""

    def __init__(self):
        self.netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG)

    def ask(self, flags, states, ident):
        request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, states) + ident
        header = struct.pack("=IHHII", NETLINK_HEADER + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | flags, 0, 0)
        self.netlink.send(header + request)
        while True:
            data = self.netlink.recv(1 << 17)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    return
                yield data[at : at + length]
                at += (length + 3) & ~3
            if not flags:
                return

    def inode_of(self, local, remote):
        """The inode of the socket that connects local port to remote port; None when it is gone."""
        ident = struct.pack(">HH", local, remote) + (LOOPBACK + bytes(12)) * 2 + struct.pack("=III", 0, NO_COOKIE, NO_COOKIE)
        for message in self.ask(0, ALL_STATES, ident):
            return str(struct.unpack_from("=I", message, INODE_OFFSET)[0])
        return None

    def listening(self):
        """(inode, port) of every listening socket."""
        for message in self.ask(NLM_F_DUMP, 1 << TCP_LISTEN, bytes(48)):
            yield str(struct.unpack_from("=I", message, INODE_OFFSET)[0]), struct.unpack_from(">H", message, NETLINK_HEADER + 4)[0]


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def list_dir(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


class Watch:
    def __init__(self, orchestrator):
        self.orchestrator = orchestrator
        self.table = SocketTable()
        self.poll = select.poll()
        self.poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
        self.tap = open_syn_tap()
        self.poll.register(self.tap, select.POLLIN)
        self.connector = open_connector()
        if self.connector is not None:
            self.poll.register(self.connector, select.POLLIN)
        self.agents = {}  # pid -> agent id, while it lives
        self.pids = {}  # pidfd -> pid
        self.silent = set()  # pids that do not listen yet
        self.ports = set()

    def find_agents(self):
        for task in list_dir(f"/proc/{self.orchestrator}/task"):
            for pid in map(int, read(f"/proc/{self.orchestrator}/task/{task}/children").split()):
                if pid in self.agents:
                    continue
                # Between fork(2) and the end of execve(2) the command line is the parent's, or none: look again next time.
                command = read(f"/proc/{pid}/cmdline").split("\0")
                spec = next((part for part in command if AGENT.search(part)), None)
                if spec is None:
                    continue
                agent = AGENT.search(spec)[1]
                try:
                    pidfd = os.pidfd_open(pid)
                except ProcessLookupError:
                    say(ev="note", text=f"{agent} ({pid}) was gone before it could be watched")
                    continue
                self.agents[pid] = agent
                self.silent.add(pid)
                self.pids[pidfd] = pid
                self.poll.register(pidfd, select.POLLIN)
                say(ev="agent", t=now_ms(), agent=agent, pid=pid, spec=spec)

    def find_ports(self):
        owners = self.owners_of_sockets(self.silent)
        for inode, port in self.table.listening():
            pid = owners.get(inode)
            if pid in self.silent:
                self.silent.discard(pid)
                self.ports.add(port)
                say(ev="listen", t=now_ms(), pid=pid, port=port)

    def owners_of_sockets(self, pids):
        owners = {}
        for pid in pids:
            for fd in list_dir(f"/proc/{pid}/fd"):
                try:
                    target = os.readlink(f"/proc/{pid}/fd/{fd}")
                except OSError:
                    continue
                if target.startswith("socket:["):
                    owners[target[8:-1]] = pid
        return owners

    def read_tap(self):
        """Which process opened each new connection to an agent's port."""
        inodes = {}
        while True:
            try:
                packet, address = self.tap.recvfrom(128)
            except BlockingIOError:
                break
            if address[2] == PACKET_OUTGOING:
                continue  # the loopback interface shows every packet twice
            tcp = 14 + (packet[14] & 0x0F) * 4
            local, remote = struct.unpack_from(">HH", packet, tcp)
            if remote in self.ports:
                inode = self.table.inode_of(local, remote)
                if inode is not None:
                    inodes[local, remote] = inode
        if not inodes:
            return
        owners = self.owners_of_sockets(self.agents)
        for (local, remote), inode in inodes.items():
            if inode in owners:
                say(ev="socket", t=now_ms(), pid=owners[inode], local=local, remote=remote)

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
            event = NETLINK_HEADER + CONNECTOR_HEADER
            what, _cpu, stamp = struct.unpack_from("=IIQ", data, event)
            if what != PROC_EVENT_EXIT:
                continue
            thread, process, code = struct.unpack_from("=III", data, event + 16)
            if process in self.agents:
                say(ev="thread_exit", t=stamp / 1e6, pid=process, thread=thread, code=code)

    def note_exit(self, pidfd):
        at = now_ms()
        if self.connector is not None:
            self.read_connector()
        pid = self.pids.pop(pidfd)
        say(ev="exit", t=at, pid=pid)
        del self.agents[pid]
        self.silent.discard(pid)
        self.poll.unregister(pidfd)
        os.close(pidfd)

    def run(self):
        next_tick = 0
        next_offset = 0
        while True:
            for fd, _event in self.poll.poll(max(0, next_tick - now_ms())):
                if fd in self.pids:
                    self.note_exit(fd)
                elif fd == self.tap.fileno():
                    self.read_tap()
                elif self.connector is not None and fd == self.connector.fileno():
                    self.read_connector()
                elif fd == sys.stdin.fileno() and not os.read(fd, 4096):
                    say_offset()
                    say(ev="end", t=now_ms())
                    return
            if now_ms() >= next_tick:
                self.find_agents()
                if self.silent:
                    self.find_ports()
                if now_ms() >= next_offset:
                    say_offset()
                    next_offset = now_ms() + OFFSET_EVERY_MS
                next_tick = now_ms() + TICK_MS


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
