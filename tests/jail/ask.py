"""Answers the questions of `exeat run --ask` on a terminal of its own: ask.py SCENARIO DIRECTORY EXEAT WORD..."""
import os, pty, select, shlex, signal, sys, termios, time

scenario, directory, exeat = sys.argv[1], sys.argv[2], sys.argv[3:]
QUESTION = b"Let it through?"
CURL = "curl -sS --max-time 60 --cacert %s/ca.pem " % directory
DIRECT = CURL + "--noproxy '*' "


class Run:
    """A program on a terminal, which it controls."""

    def __init__(self, words):
        self.seen, self.all = b"", b""
        # What others write in between, perhaps in the middle of a line.
        self.noise = b""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "@@ "
            # Ignored where the tests themselves run in the background of a shell.
            for ignored in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(ignored, signal.SIG_DFL)
            os.execvp(words[0], words)
        self.modes = termios.tcgetattr(self.terminal)

    def read(self, wait):
        ready, _, _ = select.select([self.terminal], [], [], wait)
        if not ready:
            return False
        try:
            got = os.read(self.terminal, 4096)
        except OSError:  # the last process has left the terminal
            return False
        self.seen = (self.seen + got).replace(self.noise, b"")
        self.all += got
        return bool(got)

    def until(self, text):
        """Reads until the text has come, and forgets what came so far."""
        deadline = time.time() + 60
        while text not in self.seen:
            if not self.read(max(0, deadline - time.time())):
                sys.exit("no %r in %r" % (text, self.all))
        before, self.seen = self.seen.split(text, 1)
        return before

    def say(self, text):
        os.write(self.terminal, text.encode())

    def answer(self, what, answer):
        self.until(b"no rule allows " + what + b". " + QUESTION)
        self.until(b" s): ")
        self.say(answer)

    def end(self):
        """The exit code, once all is read."""
        while self.read(60):
            pass
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def ends(self, code, questions):
        got = self.end()
        asked = self.all.count(QUESTION)
        if (got, asked) != (code, questions):
            sys.exit("code %r, %d questions in %r" % (got, asked, self.all))


def run(line, *flags):
    return Run(exeat[:-1] + ["--ask", *flags, "--", "sh", "-c", line])


def shell():
    """A shell that starts jobs, outside of any jail."""
    it = Run(["bash", "--norc", "--noediting", "-i"])
    it.until(b"@@ ")
    return it


def once():
    it = run(CURL + "https://evil.example/; " + CURL + "https://evil.example/; echo code=$?")
    it.answer(b"evil.example", "o\n")
    it.until(b"hello from evil.example")
    it.answer(b"evil.example", "d\n")
    it.until(b"response 403")
    it.until(b"code=56")
    it.ends(0, 2)


def once_without_the_proxy():
    # The look-up of both families, and the connection that follows, are one.
    it = run(DIRECT + "https://evil.example/; " + DIRECT + "https://evil.example/; echo code=$?")
    it.answer(b"evil.example", "o\n")
    it.until(b"hello from evil.example")
    it.answer(b"evil.example", "d\n")
    it.until(b"Could not resolve host")
    it.until(b"code=6")
    it.ends(0, 2)


# Says all the time that it moves, from a thread other than the first, which has ended.
THREAD = """
import ctypes, os, threading, time
def move():
    while True:
        os.write(1, b"<moves>"); time.sleep(0.005)
threading.Thread(target=move).start()
time.sleep(0.1)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""
# The same, from a process that has the kernel let it go on if it was stopped.
TIMER = """
import ctypes, os, signal, time
libc = ctypes.CDLL(None)
# A timer whose signal is ignored comes once.
signal.signal(signal.SIGCONT, lambda *_: None)
class Event(ctypes.Structure):
    _fields_ = [("value", ctypes.c_void_p), ("signal", ctypes.c_int), ("how", ctypes.c_int), ("rest", ctypes.c_int * 12)]
timer, event = ctypes.c_void_p(), Event(None, 18, 0)
assert libc.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0
assert libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 700000000, 0, 700000000), None) == 0
open("ready", "w").close()
while True:
    os.write(1, b"<moves>"); time.sleep(0.005)
"""


def nothing_moves_while_one_is_asked():
    with open(directory + "/moves.py", "w") as file:
        file.write(THREAD)
    it = run("/usr/bin/python3 moves.py & until grep -q 'State:.Z' /proc/$!/status; do :; done; " + CURL + "https://evil.example/")
    it.until(b"no rule allows evil.example. " + QUESTION)
    it.until(b" s): ")
    if it.read(0.5):
        sys.exit("it goes on: %r" % it.seen)
    it.noise = b"<moves>"
    it.say("d\n")
    it.until(b"response 403")
    it.ends(56, 1)


def a_yes_to_what_may_be_a_lie_is_none():
    with open(directory + "/moves.py", "w") as file:
        file.write(TIMER)
    # Where the timer comes while it is being stopped, nobody is asked.
    it = run("/usr/bin/python3 moves.py & until [ -e ready ]; do :; done; until " + CURL + "https://evil.example/; do sleep 0.2; done")
    for answer in ("o\n", "w\n"):
        it.until(b"no rule allows evil.example. " + QUESTION)
        it.until(b" s): ")
        it.until(b"<moves>")
        it.noise = b"<moves>"
        it.say(answer)
        it.until(b"went on meanwhile")
        it.until(b"response 403")
        it.noise = b""
    it.until(b" s): ")
    it.say("\x03")
    it.end()
    if b"hello" in it.all or "evil" in open(directory + "/policy.yaml").read():
        sys.exit("%r" % it.all)


def for_this_run():
    again = DIRECT + "https://evil.example/; " + CURL + "http://evil.example/ https://evil.example/"
    it = run(CURL + "https://evil.example/; " + again, "--audit", directory + "/audit.jsonl")
    # Anything else is no answer.
    it.answer(b"evil.example", "yes\n")
    it.until(b" s): ")
    it.say("xx\x7f\x7fr\n")
    for _ in range(4):
        it.until(b"hello from evil.example")
    it.ends(0, 1)


def write():
    it = run(CURL + "https://evil.example/")
    it.answer(b"evil.example", "w\n")
    it.until(b"policy.yaml:6 has it now")
    it.until(b"hello from evil.example")
    it.ends(0, 1)
    it = run(CURL + "https://evil.example/")
    it.until(b"hello from evil.example")
    it.ends(0, 0)


def write_where_one_may_not():
    os.chmod(directory + "/policy.yaml", 0o444)
    it = run(CURL + "https://evil.example/")
    it.answer(b"evil.example", "w\n")
    it.until(b"can't write ")
    it.until(b"Permission denied")
    if b"write" in it.until(b" s): "):
        sys.exit("it was offered again")
    it.say("r\n")
    it.until(b"hello from evil.example")
    it.ends(0, 1)


def silence():
    it = run("for i in 1 2; do " + CURL + "-o /dev/null -w 'code=%{http_code}\n' http://evil.example/; done", "--ask-timeout", "1")
    it.until(b"(1 s): ")
    it.until(b"no answer: it is denied")
    it.until(b"code=403")
    it.until(b"code=403")
    # The summary tells what was denied, as ever.
    it.until(b"evil.example:80: no_rule (2 times)")
    it.ends(0, 1)


def many_at_once():
    urls = "https://evil.example/ http://evil.example/ " * 4
    it = run(CURL + "-Z --parallel-immediate " + urls + "& " + DIRECT + "https://evil.example/; wait; echo all")
    it.answer(b"evil.example", "r\n")
    it.until(b"all\r\n")
    it.ends(0, 1)
    if it.all.count(b"hello from") != 9:
        sys.exit("not all in %r" % it.all)


def alert():
    it = run(DIRECT + "--resolve evil.example:443:93.184.216.66 https://evil.example/; echo code=$?")
    it.answer(b"evil.example", "d\n")
    it.until(b"access denied")
    it.until(b"code=35")
    it.ends(0, 1)


def addresses():
    line = "for a in 93.184.216.66 10.0.0.1; do " + CURL + "-k -o /dev/null -w 'code=%{http_connect}\n' https://$a/; done"
    it = run(line)
    it.answer(b"93.184.216.66", "o\n")
    it.until(b"code=200")
    # The guard's are not asked about.
    it.until(b"code=403")
    it.ends(56, 1)


def who_speaks_last():
    """A server that speaks first, on a port that no rule lists: by name, then by the port."""
    line = "import socket\ns = socket.create_connection(('evil.example', 9999), 60)\nprint(s.recv(99).decode())"
    it = run("python3 -c %s" % shlex.quote(line))
    it.answer(b"evil.example", "r\n")
    it.answer(b"evil.example:9999", "r\n")
    it.until(b"the server speaks first")
    it.ends(0, 2)


def rules_have_answered():
    """A deny rule, and a rule that leaves a method out."""
    with open(directory + "/policy.yaml", "w") as file:
        file.write("version: 1\nprofiles:\n  - name: all\n    deny: [evil.example]\n    allow:\n"
                   "      - { host: a.example, protocol: http, methods: [HEAD] }\n")
    line = "for u in https://evil.example/ http://evil.example/ http://a.example/; do " + CURL + "-o /dev/null $u -w '%{http_code}%{http_connect},'; done"
    it = run(line)
    it.until(b"000403,403000,403000,")
    it.ends(0, 0)


def ctrl_c():
    it = run(CURL + "https://evil.example/; echo not here")
    it.answer(b"evil.example", "\x03")
    it.ends(130, 1)
    if termios.tcgetattr(it.terminal) != it.modes:
        sys.exit("the terminal's modes have changed")
    if b"not here" in it.all:
        sys.exit("it went on")


def ctrl_z():
    it = shell()
    it.say(" ".join(map(shlex.quote, exeat[:-1] + ["--ask", "--", "sh", "-c", CURL + "-w 'code=%{http_connect}\n' https://evil.example/"])) + "\n")
    it.answer(b"evil.example", "\x1a")
    it.until(b"Stopped ")
    it.until(b"@@ ")
    it.say("fg\n")
    it.until(b"code=403")
    it.until(b"@@ ")
    it.say("exit\n")
    it.end()


def in_the_background():
    it = shell()
    words = exeat[:-1] + ["--ask", "--", "sh", "-c", CURL + "-w 'code=%{http_connect}\n' https://evil.example/"]
    it.say(" ".join(map(shlex.quote, words)) + " &\n")
    it.until(b"code=403")
    it.say("wait\nexit\n")
    it.end()
    if QUESTION in it.all:
        sys.exit("it was asked")


def a_signal():
    it = run(CURL + "https://evil.example/")
    it.until(b" s): ")
    os.kill(it.pid, signal.SIGTERM)
    it.ends(143, 1)


def an_end():
    """The command is killed from outside while the question stands."""
    it = run("trap '' TERM; " + CURL + "https://evil.example/; sleep 100")
    it.until(b" s): ")

    def child(pid):
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            return int(file.read().split()[-1])  # the first one has made the others, and ended

    os.kill(child(child(it.pid)), signal.SIGKILL)
    it.ends(137, 1)


def raw():
    it = run("before=$(stty -g); stty raw -echo; raw=$(stty -g); " + CURL + "https://evil.example/; test \"$(stty -g)\" = \"$raw\" && "
             "echo same; head -c 1 | od -c; stty $before")
    it.answer(b"evil.example", "\x03r\r")
    it.until(b"hello from evil.example")
    it.until(b"same")
    # What is no signal for the command is none for exeat either, but a key.
    it.say("\x03")
    it.until(b"003")
    it.ends(0, 1)


def reader():
    """A command that reads from the terminal gets what is typed for it, and no answer."""
    it = run("{ until test -e go; do sleep 0.01; done; " + CURL + "https://evil.example/; } & cat")
    it.say("first\n")
    it.until(b"first\r\nfirst")
    open(directory + "/go", "w").close()
    it.answer(b"evil.example", "r\n")
    it.until(b"hello from evil.example")
    it.say("second\n")
    got = it.until(b"second\r\nsecond")
    if b"r\r\nr" in got:
        sys.exit("the answer went to the command: %r" % got)
    it.say("\x04")
    it.ends(0, 1)


def jobs():
    """A shell inside has groups of its own in the foreground, and a job that had stopped before stays so."""
    it = Run(exeat[:-1] + ["--ask", "--", "bash", "--norc", "--noediting", "-i"])
    it.until(b"@@ ")
    it.say("cat\n")
    it.say("here\n")
    it.until(b"here\r\nhere")
    it.say("\x1a")
    it.until(b"Stopped ")
    it.until(b"@@ ")
    it.say(CURL + "https://evil.example/\n")
    it.answer(b"evil.example", "r\n")
    it.until(b"hello from evil.example")
    it.until(b"@@ ")
    it.say("jobs\n")
    it.until(b"Stopped ")
    it.until(b"@@ ")
    it.say("fg\n")
    it.until(b"cat\r\n")
    it.say("again\n")
    it.until(b"again\r\nagain")
    it.say("\x03")
    it.until(b"@@ ")
    it.say("exit 0\n")
    it.ends(0, 1)


def a_policy_of_its_own():
    """What the command writes into the policy that holds it is not in force."""
    policy = "version: 1\\nprofiles: [{ name: all, allow: [evil.example] }]\\n"
    it = run("printf '%s' > policy.yaml; sleep 3; %s -o /dev/null -w 'code=%%{http_connect}\n' https://evil.example/" % (policy, CURL))
    it.answer(b"evil.example", "d\n")
    it.until(b"code=403")
    it.ends(56, 1)


globals()[scenario]()
