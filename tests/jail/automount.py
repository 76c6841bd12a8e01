"""An automounter: has one directory mounted, tells what else is looked for, and finds none of it."""
import ctypes, fcntl, os, subprocess, sys

FAIL = 0x9361  # AUTOFS_IOC_FAIL
PACKET, TOKEN, LENGTH, NAME = 304, 8, 40, 44  # struct autofs_v5_packet

place = sys.argv[1]
# Its own group of processes looks for nothing, and may make directories.
os.setpgid(0, 0)
reading, writing = os.pipe()
options = f"fd={writing},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"test", place.encode(), b"autofs", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
os.mkdir(place + "/known")
subprocess.check_call(["mount", "-t", "tmpfs", "test", place + "/known"])
open(place + "/known/file", "w").write("known")
root = os.open(place, os.O_RDONLY)
print("ready", flush=True)
while packet := os.read(reading, PACKET):
    length = int.from_bytes(packet[LENGTH : LENGTH + 4], sys.byteorder)
    print(packet[NAME : NAME + length].decode(), flush=True)
    fcntl.ioctl(root, FAIL, int.from_bytes(packet[TOKEN : TOKEN + 4], sys.byteorder))
