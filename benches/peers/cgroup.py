"""A share of a core for one process, by control groups of either version."""

import pathlib

V2 = pathlib.Path("/sys/fs/cgroup")
V1 = pathlib.Path("/sys/fs/cgroup/cpu")
# Short, or the wait for the next period would be all that is seen.
PERIOD_US = 10_000


class Share:
    """Holds a process to so much of one core; `None` where that can't be done."""

    def __init__(self, directory):
        self.directory = directory

    @classmethod
    def hold(cls, process, cores):
        quota = int(PERIOD_US * cores)
        for root, limits in [
            (V2, {"cpu.max": f"{quota} {PERIOD_US}"}),
            (V1, {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota)}),
        ]:
            directory = root / f"exeat-bench-{process.pid}"
            if not (root / "cgroup.procs").exists():
                continue
            try:
                directory.mkdir()
                for name, value in limits.items():
                    (directory / name).write_text(value)
                (directory / "cgroup.procs").write_text(str(process.pid))
                return cls(directory)
            except OSError:
                # No leave, or a group without the cpu controller.
                if directory.exists():
                    directory.rmdir()
        return None

    def release(self):
        # Only an empty group can go; the process has ended.
        self.directory.rmdir()
