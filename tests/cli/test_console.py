# SPDX-License-Identifier: Apache-2.0
"""The command as a process: signals, streams that nobody reads, a home that is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from stress.runs import heed_signals

from bids_brainseg.cli.console import check_configurations
from bids_brainseg.errors import BrainsegError

WAITS = "print('ready', flush=True); time.sleep(60)"


def command(body: str, *more: str) -> list[str]:
    """Return the command with a level that does what `body` says."""
    code = (
        'import os, signal, sys, time\nfrom bids_brainseg.cli import run\n'
        f'def run_level(settings):\n    {body}\n    return 0\n'
        f'run.run_level = run_level\nsys.argv = ["bids_brainseg", "in", "out", "participant", *{more!r}]\n'
        'sys.exit(run.command())\n'
    )
    return [sys.executable, '-c', code]


def run(body: str, *more: str, **options) -> tuple[int, str, str]:
    done = subprocess.run(command(body, *more), capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(('name', 'code'), [('SIGINT', 130), ('SIGTERM', 143), ('SIGHUP', 129)])
def test_signals_have_their_exit_codes(name, code):
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    with subprocess.Popen(command(WAITS), text=True, preexec_fn=heed_signals, **pipes) as process:
        assert process.stdout.readline() == 'ready\n'
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert said == f'bids_brainseg: ended by {name}; the same command continues where it stopped\n'


@pytest.mark.parametrize(
    'untidy',
    [
        'import atexit; atexit.register(lambda: 1 / 0)',
        "time.slow = type('Slow', (), {'__del__': lambda self, sleep=time.sleep: sleep(60)})()",
    ],
)
def test_what_cannot_be_tidied_up_is_not_told_and_not_waited_for(untidy):
    body = f'{untidy}; {WAITS}'
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    with subprocess.Popen(command(body), text=True, **pipes) as process:
        assert process.stdout.readline() == 'ready\n'
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 143
    assert said == 'bids_brainseg: ended by SIGTERM; the same command continues where it stopped\n'


def test_a_second_signal_ends_it_at_once():
    stubborn = (
        "print('ready', flush=True)\n"
        '    try: time.sleep(60)\n'
        "    except BaseException: print('still', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(command(stubborn), stdout=subprocess.PIPE, text=True) as process:
        for word in ('ready\n', 'still\n'):
            assert process.stdout.readline() == word
            time.sleep(0.5)  # beyond the line that printed it
            process.terminate()
        assert process.wait(5) == -signal.SIGTERM


def test_what_swallows_the_signal_is_ended(monkeypatch):
    body = (
        'from bids_brainseg.cli import console; console.GRACE_SECONDS = 0.2\n'
        '    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n'
        '    except BaseException: time.sleep(60)'
    )
    assert run(body)[0] == 143


def test_nohup_stays_nohup():
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    code, printed, _ = run("os.kill(os.getpid(), signal.SIGHUP); print('on')", preexec_fn=ignore)
    assert (code, printed) == (0, 'on\n')


def test_a_reader_that_left_ends_nothing():
    code = ' '.join(["for n in range(100000): print('line', n)"])
    shell = 'set -o pipefail; "$@" | head -n 1'
    done = subprocess.run(
        ['bash', '-c', shell, 'bash', *command(code)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, 'line 0\n', '')


@pytest.mark.parametrize('closed', [(1,), (2,), (0, 1, 2)])
def test_closed_streams_do_not_become_other_files(tmp_path, closed):
    body = (
        f"stream = open('{tmp_path}/file', 'w'); print('out'); print('err', file=sys.stderr)\n"
        '    import subprocess; subprocess.run(["sh", "-c", "echo x; echo x >&2"], check=True)\n'
        '    stream.write(str(stream.fileno() > 2))'
    )
    process = subprocess.Popen(command(body), preexec_fn=lambda: [os.close(number) for number in closed])
    assert process.wait() == 0
    assert (tmp_path / 'file').read_text() == 'True'


def test_output_that_cannot_be_saved_is_told():
    with open('/dev/full', 'w') as full:
        done = subprocess.run(
            command("print('the list')"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == 'bids_brainseg: error: standard output: No space left on device\n'


def test_letters_that_the_terminal_lacks():
    environment = {**os.environ, 'PYTHONIOENCODING': 'ascii'}
    assert run("print('Müller 脳')", env=environment)[:2] == (0, 'M\\xfcller \\u8133\n')


@pytest.mark.parametrize('home', [None, '/no/such/folder', '/etc/passwd'])
def test_a_home_that_is_none_is_replaced(home):
    environment = {name: value for name, value in os.environ.items() if name != 'HOME'}
    environment |= {'HOME': home} if home else {}
    assert run("print(os.environ['HOME'])", env=environment)[:2] == (0, '/\n')


@pytest.mark.parametrize(
    ('program', 'name', 'content'),
    [
        ('pybids', 'pybids_config.json', ''),
        ('pybids', 'pybids_config.json', '[1]'),
        ('nipype', 'nipype.cfg', 'x'),
        ('nipype', 'nipype.cfg', '[execution]\nplugin\n'),
        ('nipype', 'nipype.cfg', '[execution]\n[execution]\n'),
    ],
)
def test_a_configuration_that_cannot_be_read_is_told(program, name, content, tmp_path, monkeypatch):
    variable, value = {'pybids': ('PYBIDS_CONFIG', name), 'nipype': ('NIPYPE_CONFIG_DIR', '')}[program]
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / name).write_text(content)
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(BrainsegError, match=f'of {program} cannot be read: {folder / name}: '):
            check_configurations()
    monkeypatch.chdir(tmp_path)
    check_configurations()
    monkeypatch.setenv(variable, str(folder / value))
    with pytest.raises(BrainsegError, match=f'of {program} cannot be read: {folder / name}: '):
        check_configurations()


def test_configurations_that_can_be_read_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_configurations()
    (tmp_path / 'pybids_config.json').write_text('{"config_paths": {}}')
    (tmp_path / 'nipype.cfg').write_text('[execution]\nplugin = Linear\n')
    check_configurations()


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_home_that_cannot_be_written_is_not_written(tmp_path):
    tmp_path.chmod(0o555)
    environment = {name: value for name, value in os.environ.items() if name != 'MPLCONFIGDIR'}
    environment['HOME'] = str(tmp_path)
    code, printed, _ = run("print(os.environ['HOME'], os.environ['MPLCONFIGDIR'])", env=environment)
    home, folder = printed.split()
    assert (code, home) == (0, str(tmp_path))
    assert not os.path.exists(folder)  # it was there while the command ran


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        ('KeyError("x")', "unexpected KeyError: 'x' (<string>:4); run the same command with -v and report"),
        ('OSError(28, "No space left on device", "/out/a")', 'no space is left on the disk'),
        ('PermissionError(13, "Permission denied", "/a")', 'PermissionError: [Errno 13] Permission denied'),
        ('MemoryError()', 'memory ran out'),
    ],
)
def test_what_nobody_expected_is_one_line(error, said):
    code, _, printed = run(f'raise {error}')
    assert (code, len(printed.splitlines())) == (1, 1)
    assert printed.startswith(f'bids_brainseg: error: {said}')
    assert 'Traceback' in run(f'raise {error}', '-v')[2]
