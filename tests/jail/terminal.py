"""Drives a shell on a terminal, which starts what it is given as a job: Ctrl-C, Ctrl-Z, and the prompt afterwards."""
import os, pty, select, signal, sys, time

exeat = " ".join("'%s'" % word for word in sys.argv[1:])
shell, terminal = pty.fork()
if shell == 0:
    os.environ["PS1"] = "@@ "
    # Ignored where the tests themselves run in the background of a shell.
    for ignored in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_DFL)
    os.execvp("bash", ["bash", "--norc", "--noediting", "-i"])
seen = b""


def until(text):
    """Reads until the text has come, and forgets what came so far."""
    global seen
    deadline = time.time() + 30
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.time()))
        if not ready:
            sys.exit("no %r in %r" % (text, seen))
        seen += os.read(terminal, 4096)
    seen = seen[seen.index(text) + len(text):]


def say(text):
    os.write(terminal, text.encode())


until(b"@@ ")
# The same terminal, and its foreground.
say(exeat + " sh -c 'test -t 0 && test -t 1 && tty | grep -c /dev/pts && echo fine; stty size >/dev/null && echo sized'\n")
until(b"fine")
until(b"sized")
until(b"@@ ")
# Ctrl-C ends the command, and exeat with its code.
say(exeat + " cat\n")
say("ready\n")
until(b"ready\r\nready")
say("\x03")
until(b"@@ ")
say("echo code=$?\n")
until(b"code=130")
until(b"@@ ")
# A command that takes Ctrl-C for itself goes on.
say(exeat + " bash --norc -c 'trap \"echo caught; exit 4\" INT; echo go; while :; do sleep 0.05; done'\n")
until(b"\r\ngo")
say("\x03")
until(b"caught")
until(b"@@ ")
say("echo code=$?\n")
until(b"code=4")
until(b"@@ ")
# Ctrl-Z stops the job, and it goes on in the foreground.
say(exeat + " cat\n")
say("ready\n")
until(b"ready\r\nready")
say("\x1a")
until(b"Stopped ")
until(b"@@ ")
say("fg\n")
until(b" cat\r\n")
say("again\n")
until(b"again\r\nagain")
# It may also go on in the background; when it ends there, the terminal stays the shell's.
say("\x1a")
until(b"Stopped ")
until(b"@@ ")
say("kill -TERM %1; bg; wait; echo waited\n")
until(b"\r\nwaited")
until(b"@@ ")
say("cat\n")
say("here\n")
until(b"here\r\nhere")
say("\x04")
until(b"@@ ")
# A command that takes no notice of Ctrl-Z goes on, and so does its gate.
say(exeat + " bash --norc -c 'trap \"\" TSTP; echo go; read line; echo read $line'\n")
until(b"\r\ngo")
say("\x1a")
say("on\n")
until(b"read on")
until(b"@@ ")
# A shell inside that stops itself is the job of the one outside.
say(exeat + " bash --norc --noediting -i\n")
until(b"@@ ")
say("suspend -f\n")
until(b"Stopped ")
until(b"@@ ")
say("fg\n")
until(b"bash --norc --noediting -i\r\n")
say("echo in$((1 + 1))side\n")
until(b"in2side")
say("exit 8\n")
until(b"exit")
until(b"@@ ")
say("echo code=$?\n")
until(b"code=8")
until(b"@@ ")
# A shell inside has jobs of its own, and gives the terminal back.
say(exeat + " bash --norc --noediting -i\n")
until(b"@@ ")
say("cat\n")
say("ready\n")
until(b"ready\r\nready")
say("\x03")
until(b"@@ ")
say("exit 6\n")
until(b"@@ ")
say("echo code=$?\n")
until(b"code=6")
until(b"@@ ")
say("cat\n")
until(b"cat\r\n")
say("still here\n")
until(b"still here\r\nstill here")
say("\x04")
until(b"@@ ")
say("exit\n")
os.waitpid(shell, 0)
