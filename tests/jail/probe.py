"""Tries ways out, and says of each whether it is held."""
import ctypes, errno, fcntl, os, socket, sys

abstract, outside = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)


def held(what, attempt):
    try:
        got = attempt()
    except OSError as error:
        print("held", what, error)
    else:
        print("OUT", what, got)


def call(function, *arguments):
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def trace():
    attach = 16
    return [call(libc.ptrace, attach, 1, None, None)]


def ring():
    """The number of io_uring_setup is the same everywhere; whether the memory is good is looked at later."""
    try:
        return call(libc.syscall, 425, 8, None)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise
        return error


def type_in():
    """TIOCSTI; what is no terminal would say so."""
    try:
        return fcntl.ioctl(0, 0x5412, b"x")
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return error


def key():
    """request_key for a name; where no program outside answers it, the kernel says that there is no such key."""
    number = {"x86_64": 249, "aarch64": 218}[os.uname().machine]
    try:
        return call(libc.syscall, number, b"dns_resolver", b"evil.example", b"", -3)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise
        return error


def datagram(family, address, port):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect((address, port))
        s.send(b"x")
        return s.recv(10)


def silence(family, address):
    """A connection to a port without a rule ends without a byte."""
    with socket.socket(family) as s:
        s.settimeout(20)
        s.connect((address, 5999))
        s.sendall(b"hello\n")
        got = s.recv(10)
        if not got:
            raise OSError("closed")
        return got


def unix(address):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(address)
        return s.recv(10)


for name, family in [("vsock", 40), ("packet", 17), ("alg", 38), ("bluetooth", 31), ("can", 29), ("tipc", 30), ("xdp", 44)]:
    held(name, lambda: socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_STREAM))
held("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
held("udp", lambda: datagram(socket.AF_INET, "93.184.216.34", 443))
held("udp6", lambda: datagram(socket.AF_INET6, "2606:2800::34", 443))
held("tcp", lambda: silence(socket.AF_INET, "93.184.216.34"))
held("tcp6", lambda: silence(socket.AF_INET6, "2606:2800::34"))
held("abstract socket", lambda: unix("\0" + abstract))
held("trace the first process", trace)
held("descriptors of the first process", lambda: open("/proc/1/fd/0"))
held("root of the first process", lambda: os.listdir("/proc/1/root/"))
held("a process outside", lambda: os.listdir("/proc/%d" % outside))
held("a ring", ring)
held("a key that the kernel has made outside", key)
held("type into the terminal", type_in)
held("ping", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))
held("a name outside", lambda: socket.getaddrinfo("evil.example", 443))
