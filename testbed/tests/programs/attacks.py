"""A hostile program under test: tries one thing that it must not be able to do, and says on standard error how that went.

The last line is `held: WHY` or `broken: WHAT`. What it needs to know of the machine comes as arguments; a real attacker would
have to guess.
"""

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
NEWUSER, NEWNS, NEWNET = 0x10000000, 0x00020000, 0x40000000


class Broken(Exception):
    """An attack that succeeded."""


def call(what, result):
    """Fails as a system call of the C library does."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def refused(what, attempt):
    """Makes an attempt that has to be refused; returns the reason."""
    try:
        result = attempt()
    except OSError as why:
        return f"{what}: {errno.errorcode.get(why.errno, why.errno)}"
    raise Broken(f"{what} worked: {result!r}")


def all_refused(attempts):
    return "; ".join([refused(what, attempt) for what, attempt in attempts])


def write(path, text="x", flags=os.O_WRONLY):
    def attempt():
        file = os.open(path, flags, 0o644)
        try:
            return os.write(file, text.encode())
        finally:
            os.close(file)

    return f"write {path}", attempt


def create(path):
    return write(path, flags=os.O_WRONLY | os.O_CREAT)


def read(path):
    return f"read {path}", lambda: open(path, "rb").read(64)


def status():
    lines = [line.split(":", 1) for line in open("/proc/self/status")]
    return {key: value.strip() for key, value in lines}


def processes():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def mount(source, point, kind, flags):
    arguments = [text.encode() if text else None for text in (source, point, kind)]
    return f"mount {point} {flags:#x}", lambda: call("mount", LIBC.mount(*arguments, flags, None))


def umount(point):
    return f"umount {point}", lambda: call("umount2", LIBC.umount2(point.encode(), 2))


def setns(path):
    return f"setns {path}", lambda: call("setns", LIBC.setns(os.open(path, os.O_RDONLY), 0))


def connect(family, address):
    def attempt():
        with socket.socket(family, socket.SOCK_STREAM) as stream:
            stream.settimeout(5)
            return stream.connect(address)

    return f"connect {address!r}", attempt


def system_files(_):
    return all_refused([create(f"{folder}/testbed-was-here") for folder in ("/etc", "/usr/local/bin", "/usr", "/opt", "/")])


def home_files(_):
    return all_refused([("list " + folder, lambda folder=folder: os.listdir(folder)) for folder in ("/root", "/home", "/var/lib")])


def passwords(_):
    return all_refused([read("/etc/shadow"), read("/etc/gshadow")])


def secrets(known):
    folder, name = os.path.split(known["secret"])
    if name in os.listdir(folder):
        raise Broken(f"it sees {name}")
    return refused(*read(known["secret"]))


def settings(_):
    return all_refused([
        write("/proc/sys/net/ipv4/ip_default_ttl", "2"),
        write("/proc/sys/net/ipv4/tcp_syn_retries", "1"),
        write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50010"),
    ])


def core_pattern(_):
    return all_refused([write("/proc/sys/kernel/core_pattern", "|/tmp/work/x"), write("/proc/sys/kernel/modprobe", "/tmp/work/x")])


def sysrq(_):
    return all_refused([write("/proc/sysrq-trigger", "h"), write("/proc/self/oom_score_adj", "-999"), read("/sys/kernel/uevent_helper")])


def mounts(_):
    rw = 0x20 | 0x1000
    return all_refused([
        mount(None, "/", None, rw), mount(None, "/usr", None, rw), mount(None, "/proc", None, rw),
        mount("/usr", "/tmp", None, 0x1000), mount("proc", "/tmp/work", "proc", 0), umount("/proc"), umount("/tmp"),
    ])


def user_namespace(_):
    """A namespace of its own may be had; what it opens must be nothing of the machine's."""
    try:
        call("unshare", LIBC.unshare(NEWUSER | NEWNS | NEWNET))
    except OSError as why:
        return f"unshare: {errno.errorcode.get(why.errno)}"
    rw = 0x20 | 0x1000
    return all_refused([
        mount(None, "/usr", None, rw), mount(None, "/", None, rw), umount("/proc"), umount("/tmp"),
        mount("proc", "/tmp", "proc", 0), write("/proc/sys/kernel/core_pattern", "x"), setns("/proc/1/ns/mnt"),
    ])


def init_namespaces(_):
    kinds = ("mnt", "net", "pid", "user", "ipc")
    return all_refused([setns(f"/proc/1/ns/{kind}") for kind in kinds])


def init_files(_):
    return all_refused([
        ("list /proc/1/root", lambda: os.listdir("/proc/1/root")), ("list /proc/1/fd", lambda: os.listdir("/proc/1/fd")),
        ("list /proc/1/cwd", lambda: os.listdir("/proc/1/cwd")), read("/proc/1/mem"), read("/proc/1/environ"), read("/proc/1/maps"),
    ])


def ptrace(known):
    own = os.getpid()
    targets = [pid for pid in {1, *processes(), *range(2, 50), known["harness"]} if pid != own]
    attach = lambda pid: call("ptrace", LIBC.ptrace(16, pid, 0, 0))
    return f"{len(targets)} processes: " + all_refused([(f"attach {pid}", lambda pid=pid: attach(pid)) for pid in targets])[:80]


def signals(known):
    others = [pid for pid in processes() if pid not in (1, os.getpid())]
    if others:
        raise Broken(f"it sees the processes {others}")
    for signal in (9, 19):
        try:
            # May be allowed, and does nothing then: the kernel shields the first process of a namespace.
            os.kill(1, signal)
        except PermissionError:
            pass
    attempts = [(f"kill {pid}", lambda pid=pid: os.kill(pid, 9)) for pid in {*range(2, 3000), known["harness"]} if pid != os.getpid()]
    all_refused([*attempts, ("kill -1", lambda: os.kill(-1, 9))])
    return f"{len(attempts)} processes, none of them there"


def suite_socket(known):
    return all_refused([connect(socket.AF_UNIX, known["suite"] + "/socket")])


def host_sockets(known):
    paths = [known["socket"], "/run/systemd/private", "/run/dbus/system_bus_socket", "/var/run/docker.sock", "/dev/log"]
    return all_refused([connect(socket.AF_UNIX, path) for path in paths])


def abstract_socket(known):
    return all_refused([connect(socket.AF_UNIX, "\0" + known["abstract"])])


def pipes(known):
    return all_refused([write(known["suite"] + "/pipe", flags=os.O_WRONLY | os.O_NONBLOCK)])


def suite_files(known):
    suite = known["suite"]
    attempts = [write(suite + "/victim"), create(suite + "/new"), ("chmod", lambda: os.chmod(suite + "/victim", 0o777)),
                ("unlink", lambda: os.unlink(suite + "/victim")), ("symlink", lambda: os.symlink("/etc", suite + "/link")),
                ("truncate", lambda: os.truncate(suite + "/victim", 0))]
    return all_refused(attempts)


def handles(known):
    """open_by_handle_at(2) ignores mount namespaces; it takes CAP_DAC_READ_SEARCH."""
    calls = {"x86_64": (303, 304), "aarch64": (264, 265)}.get(os.uname().machine)
    if calls is None:
        return "not known on this machine"
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    number = ctypes.c_int()
    for path in ("/usr/bin/env", "/etc", known["suite"] + "/victim", "/tmp"):
        LIBC.syscall(calls[0], -100, path.encode(), handle, ctypes.byref(number), 0)
        folder = os.open("/etc", os.O_RDONLY)
        refused(f"open_by_handle_at {path}", lambda: call("open_by_handle_at", LIBC.syscall(calls[1], folder, handle, os.O_RDONLY)))
    return "four handles"


def rights(_):
    wrong = {key: value for key, value in status().items() if key.startswith("Cap") and int(value, 16)}
    if wrong or status()["NoNewPrivs"] != "1":
        raise Broken(f"capabilities {wrong}, NoNewPrivs {status()['NoNewPrivs']}")
    again = subprocess.run(["/bin/sh", "-c", "grep ^Cap /proc/self/status"], capture_output=True, text=True, check=True).stdout
    if any(int(line.split()[1], 16) for line in again.splitlines()):
        raise Broken(f"a program that it starts has {again}")
    return "none"


def other_users(_):
    if os.getuid() == 0:
        return "rootless: the user's own"
    return all_refused([
        ("setuid", lambda: os.setuid(0)), ("setgid", lambda: os.setgid(0)), ("setgroups", lambda: os.setgroups([0])),
        ("chown", lambda: os.chown("/tmp/work", 0, 0)),
    ])


def packets(_):
    kinds = [(socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)]
    return all_refused([(f"socket {kind[0]}", lambda kind=kind: socket.socket(*kind)) for kind in kinds])


def network(_):
    """Address, link, route and rules of its own node."""
    done = []
    for line in ("ip address add 192.0.2.77/32 dev lo", "ip link set lo down", "ip route flush table main", "nft flush ruleset"):
        found = subprocess.run(["/bin/sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin; {line}"], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            raise Broken(line)
        done.append(f"{line}: {found.returncode}")
    return "; ".join(done)


def run_files(known):
    out = known["out"]
    return all_refused([write(out + "/results.json"), create(out + "/cells/x"), ("list", lambda: os.listdir(out)),
                        ("symlink", lambda: os.symlink("/etc/passwd", out + "/junit.xml"))])


def keys(known):
    """Only one's own secret is there, and only for oneself."""
    found = [os.path.join(folder, name) for folder, _, names in os.walk("/tmp") for name in names if "key" in name]
    if found != ["/tmp/key"] or os.stat("/tmp/key").st_mode & 0o777 != 0o400 or len(open("/tmp/key").read()) != 65:
        raise Broken(f"keys: {found}")
    return refused("list", lambda: os.listdir(known["out"] + "/keys"))


def devices(_):
    return all_refused([
        ("mknod", lambda: os.mknod("/tmp/work/disk", 0o60600, os.makedev(8, 0))), read("/dev/mem"), read("/dev/kmsg"), read("/dev/sda"),
        read("/dev/vda"), ("chmod /dev/null", lambda: os.chmod("/dev/null", 0)), ("chmod fd", lambda: os.chmod("/dev/urandom", 0)),
    ])


def find_leftovers():
    """What an earlier trial left: files, and System V memory."""
    found = [name for folder in ("/tmp/home", "/tmp/work") for name in os.listdir(folder)]
    if found or "left" in os.listdir("/tmp"):
        raise Broken(f"files of an earlier trial: {found}")
    refused("find memory of an earlier trial", lambda: call("shmget", LIBC.shmget(0x7E57, 4096, 0)))


def leave_something():
    call("shmget", LIBC.shmget(0x7E57, 4096, 0o1666))
    for path in ("/tmp/left", "/tmp/home/left", "/tmp/work/left", "/dev/shm/left"):
        open(path, "w", encoding="utf-8").write("x")
    os.chmod("/tmp/work", 0)


def leftovers(_):
    """Each attack looks for what an earlier one left, and leaves something itself."""
    find_leftovers()
    leave_something()
    return "nothing of an earlier trial"


def descriptors(_):
    inherited = set(os.listdir("/proc/self/fd")) - {"0", "1", "2", "3"}
    if inherited:
        raise Broken(f"descriptors {inherited}")
    for number in range(3):
        refused(f"reach through {number}", lambda number=number: os.open("..", os.O_RDONLY, dir_fd=number))
    return "the three streams"


def bomb(_):
    """As many processes as it gets; none where a limit cannot be set for one program alone."""
    if os.getuid() == 0:
        return "rootless: the user's own limit"
    children = []
    try:
        while len(children) < 2000:
            child = os.fork()
            if child == 0:
                while True:
                    signal_wait()
            children.append(child)
    except OSError as why:
        if len(children) > 600:
            raise Broken(f"{len(children)} processes") from why
        return f"{len(children)} processes, then {errno.errorcode.get(why.errno)}"
    raise Broken(f"{len(children)} processes")


def signal_wait():
    import signal

    signal.pause()


def many_files(_):
    files = []
    try:
        while len(files) < 100_000:
            files.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as why:
        count = len(files)
        for file in files:
            os.close(file)
        return f"{count} files, then {errno.errorcode.get(why.errno)}"
    raise Broken(f"{len(files)} files")


ATTACKS = [
    system_files, home_files, passwords, secrets, settings, core_pattern, sysrq, mounts, user_namespace, init_namespaces, init_files,
    ptrace, signals, suite_socket, host_sockets, abstract_socket, pipes, suite_files, handles, rights, other_users, packets, network,
    run_files, keys, devices, leftovers, descriptors, bomb, many_files,
]


def main():
    wanted, known = sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:])
    known["harness"] = int(known.get("harness", 1))
    attack = {function.__name__.replace("_", "-"): function for function in ATTACKS}[wanted]
    try:
        find_leftovers()
        said = f"held: {attack(known)}"
        if attack is not leftovers:
            leave_something()
    except Broken as what:
        said = f"broken: {what}"
    sys.stderr.write(said.replace("\n", " ") + "\n")
    sys.stderr.flush()
    # Killed or not, it does not claim to have met anybody.
    os._exit(1)


if __name__ == "__main__":
    main()
