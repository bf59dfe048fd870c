# SPDX-License-Identifier: Apache-2.0
"""A SLURM of one node on the loopback interface: no systemd, no control groups, no database. Needs root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch')  # of Debian's munge and slurm-wlm
CONFIGURATION = """\
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={port}
SlurmdPort={next_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Without control groups this enforces --mem: a look every second, and the job is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
ReturnToService=2
InactiveLimit=0
KillWait=5
MinJobAge=600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} Gres=gpu:1 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def missing() -> str | None:
    """Say why there can be no cluster here, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f'{", ".join(absent)} not found; install munge and slurm-wlm'
    return 'needs root' if os.geteuid() != 0 else None


@contextmanager
def one_node_slurm() -> Iterator[Path]:
    """Start the daemons, yield the path of slurm.conf (``SLURM_CONF``), and stop them."""
    with tempfile.TemporaryDirectory(prefix='slurm') as name:
        folder, daemons = Path(name), []
        folder.chmod(0o755)
        conf = write_configuration(folder)
        environment = os.environ | {'SLURM_CONF': str(conf)}

        def start(*command: str) -> None:
            with (folder / f'{command[0]}.out').open('wb') as log:
                daemons.append(
                    subprocess.Popen(
                        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
                    )
                )

        def answers(*command: str, of: str = '') -> bool:
            run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            return run.returncode == 0 and of in run.stdout

        try:
            files = {
                'socket': 'socket',
                'key-file': 'key',
                'pid-file': 'pid',
                'log-file': 'log',
                'seed-file': 'seed',
            }
            start('munged', '--foreground', *(f'--{key}={folder}/munge.{end}' for key, end in files.items()))
            wait_for(lambda: answers('munge', '-n', '-S', f'{folder}/munge.socket'), 'munged', folder)
            start('slurmctld', '-D', '-f', str(conf))
            wait_for(lambda: answers('scontrol', 'ping'), 'slurmctld', folder)
            start('slurmd', '-D', '-f', str(conf))
            wait_for(lambda: answers('sinfo', '-h', '-o', '%t', of='idle'), 'slurmd', folder)
            yield conf
            subprocess.run(['scancel', '--user=root'], env=environment, check=False)
            wait_for(lambda: not answers('squeue', '-h', of='root'), 'squeue', folder)
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait(30)


def write_configuration(folder: Path) -> Path:
    """Write slurm.conf, gres.conf (a GPU that is none) and munge's key."""
    (folder / 'state').mkdir()
    (folder / 'spool').mkdir()
    key = folder / 'munge.key'
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / 'gres.conf').write_text('Name=gpu File=/dev/null\n')
    port = free_port()
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2**20
    conf = folder / 'slurm.conf'
    conf.write_text(
        CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().partition('.')[0],
            port=port,
            next_port=port + 1,
            cpus=len(os.sched_getaffinity(0)),
            megabytes=memory * 9 // 10,
        )
    )
    return conf


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def wait_for(true: Callable[[], bool], what: str, folder: Path, seconds: float = 60) -> None:
    """Wait until a condition holds; show the logs if it never does."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            logs = '\n'.join(
                f'{path.name}: {path.read_text()[-1500:]}' for path in folder.glob('*.[lo]*[gt]')
            )
            raise TimeoutError(f'{what} does not answer after {seconds:g} s\n{logs}')
        time.sleep(0.2)
