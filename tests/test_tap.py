"""
The command line of a node: what it makes of options, and what it refuses.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from hraftd.forwarding import OnFollower
from hraftd.node import Settings
from hraftd.raft.configuration import Server, Suffrage
from hraftd.reads import ReadLevel
from hraftd.snapshots import SnapshotPolicy
from hraftd.tap import Options, makeService

if TYPE_CHECKING:
    from collections.abc import Sequence


def settings_of(*arguments: str) -> Settings:
    """
    Return what a command line means.
    """
    options = Options()
    options.parseOptions(list(arguments))
    assert options.settings is not None
    return options.settings


def refusal_of(*arguments: str) -> str:
    """
    Return the line that a command line ends with.
    """
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(list(arguments))
    line = ended.value.code
    # Python prints a text to the standard error, and ends with status 1.
    assert isinstance(line, str)
    assert line.startswith("hraftd: ")
    assert line.endswith(" (see hraftd --help)")
    assert "\n" not in line
    return line


class TestSettings:
    """
    What is meant.
    """

    def test_defaults(self) -> None:
        """
        Without a word: loopback, a cluster of one, data in a folder named after it.
        """
        settings = settings_of()
        assert settings == Settings(
            me=Server("localhost:12000", "localhost:12000", "localhost:11000"),
            raft_endpoint="tcp:12000:interface=127.0.0.1",
            http_endpoint="tcp:11000:interface=127.0.0.1",
            data_dir=Path("localhost_12000"),
        )
        assert settings.join == ()
        assert settings.me.is_voter
        assert settings.on_follower is OnFollower.ERROR
        assert settings.read_level is ReadLevel.NONE
        assert settings.snapshots.threshold_entries == 8192
        assert settings.snapshots.trailing_entries == 10240
        assert settings.limits.max_key_bytes == 1024
        assert settings.limits.max_value_bytes == 1 << 20
        assert settings.limits.max_body_bytes == 8 << 20

    def test_everything(self) -> None:
        """
        Each option arrives where it belongs.
        """
        settings = settings_of(
            *("--id", "node1", "--haddr", "0.0.0.0:1", "--raddr", "[::]:2"),
            *("--hadv", "db1.example.org:3", "--radv", "[2001:db8::1]:4"),
            *("--join", "a:5, b:6,:7", "--on-follower", "redirect"),
            *("--nonvoter", "--read-level", "linearizable"),
            *("--snapshot-threshold", "1000", "--snapshot-trailing=1"),
            *("--max-key-bytes", "100", "--max-value-bytes=200", "/data"),
        )
        assert settings.me == Server(
            "node1", "[2001:db8::1]:4", "db1.example.org:3", Suffrage.NONVOTER
        )
        assert settings.http_endpoint == "tcp:1:interface=0.0.0.0"
        assert settings.raft_endpoint == r"tcp6:2:interface=\:\:"
        assert settings.join == ("a:5", "b:6", "localhost:7")
        assert settings.on_follower is OnFollower.REDIRECT
        assert settings.read_level is ReadLevel.LINEARIZABLE
        assert settings.snapshots == SnapshotPolicy(
            threshold_entries=1000, trailing_entries=1
        )
        assert settings.limits.max_key_bytes == 100
        assert settings.limits.max_value_bytes == 200
        assert settings.data_dir == Path("/data")

    def test_every_choice(self) -> None:
        """
        Whatever a request can ask for can be the default.
        """
        for way in OnFollower:
            assert settings_of("--on-follower", way.value).on_follower is way
        for level in ReadLevel:
            assert settings_of("--read-level", level.value).read_level is level

    def test_in_memory(self) -> None:
        """
        In memory there is no directory, also where one is named.
        """
        assert settings_of("--inmem").data_dir is None
        assert settings_of("--inmem", "there").data_dir is None

    def test_endpoint_strings(self) -> None:
        """
        An endpoint string is taken as it is; TCP says itself what others dial.
        """
        settings = settings_of(
            *("--raddr", "tcp:2:interface=127.0.0.1"),
            *("--haddr", "unix:/run/hraftd", "--hadv", "localhost:80"),
        )
        assert settings.raft_endpoint == "tcp:2:interface=127.0.0.1"
        assert settings.http_endpoint == "unix:/run/hraftd"
        assert settings.me == Server("127.0.0.1:2", "127.0.0.1:2", "localhost:80")

    def test_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A tilde that no shell has replaced means home, as in a unit file.
        """
        monkeypatch.setenv("HOME", "/home/raft")
        monkeypatch.setenv("USERPROFILE", "/home/raft")
        assert settings_of("~/node0").data_dir == Path("/home/raft/node0")

    @pytest.mark.parametrize(
        ("server_id", "folder"),
        [
            ("node0", "node0"),
            ("10.0.0.1:12000", "10.0.0.1_12000"),
            ("[::1]:12000", "___1__12000"),
            ("ünï", "ünï"),
        ],
    )
    def test_folder_of_an_id(self, server_id: str, folder: str) -> None:
        """
        Whatever an id may hold, a folder can be named after it everywhere.
        """
        assert settings_of("--id", server_id).data_dir == Path(folder)


WRONG = [
    (["--bogus"], "option --bogus not recognized"),
    (["--id"], "option --id requires argument"),
    (["--id", ""], "--id: '' is no id of a node"),
    (["--id", "a b"], "--id: 'a b' is no id of a node"),
    (["--id", "a/b"], "--id: 'a/b' is no id of a node"),
    (["--id", ".."], "--id: '..' is no id of a node"),
    (["--id", "a" * 129], "is no id of a node; take up to 128"),
    (["--haddr", ""], "--haddr: '' is not host:port"),
    (["--haddr", "localhost"], "--haddr: 'localhost' is not host:port"),
    (["--haddr", "localhost:http"], "--haddr: 'http' in 'localhost:http' is no port"),
    (["--haddr", "localhost:99999"], "more than the largest port, 65535"),
    (["--haddr", "::1:80"], "an IPv6 address needs brackets"),
    (["--haddr", "[::g]:80"], "no IPv6 address"),
    (["--haddr", "1.2.3:80"], "no IPv4 address"),
    (["--haddr", "0.0.0.0:80"], "say with --hadv HOST:PORT what they are to dial"),
    (["--raddr", "[::]:80"], "say with --radv HOST:PORT what they are to dial"),
    (["--raddr", ":0"], "say with --radv HOST:PORT what they are to dial"),
    (["--raddr", "tcp:80"], "say with --radv HOST:PORT what they are to dial"),
    (["--raddr", "tcp:eighty"], "--raddr: 'eighty'"),
    (["--haddr", "unix:/run/x"], "say with --hadv HOST:PORT what they are to dial"),
    (["--hadv", "0.0.0.0"], "--hadv: '0.0.0.0' is not host:port"),
    (["--hadv", "db:0"], "--hadv: nobody can dial port 0"),
    (["--hadv", "0.0.0.0:80"], "--hadv: nobody can dial '0.0.0.0:80'"),
    (["--radv", "[::]:80"], "--radv: nobody can dial '[::]:80'"),
    (["--radv", "db:"], "--radv: '' in 'db:' is no port"),
    (["--haddr", ":1", "--raddr", ":1"], "--haddr and --raddr are both localhost:1"),
    (["--join", ""], "--join: '' is not host:port"),
    (["--join", "a:1,,b:2"], "--join: '' is not host:port"),
    (["--join", "http://a:1"], "--join: "),
    (["--on-follower", "proxy"], "'proxy' is none of: error, redirect, forward"),
    (["--on-follower", ""], "--on-follower: '' is none of: error, redirect, forward"),
    (["--read-level", "Weak"], "'Weak' is none of: none, weak, linearizable, strong,"),
    (["--read-level", ""], "--read-level: '' is none of: none"),
    (["--nonvoter=yes"], "option --nonvoter must not have an argument"),
    (
        ["--snapshot-threshold", "0"],
        "--snapshot-threshold: '0' is no number",
    ),
    (["--snapshot-threshold", "1e3"], "'1e3' is no number of entries"),
    (["--snapshot-trailing", "0"], "--snapshot-trailing: '0' is no number of entries"),
    (["--snapshot-trailing", ""], "--snapshot-trailing: '' is no number of entries"),
    (
        ["--snapshot-trailing", "-5"],
        "'-5' is no number of entries",
    ),
    (["--max-key-bytes", "0"], "--max-key-bytes: '0' is no number of bytes"),
    (["--max-key-bytes", "-1"], "--max-key-bytes: '-1' is no number of bytes"),
    (["--max-value-bytes", "1k"], "--max-value-bytes: '1k' is no number of bytes"),
    (["--max-value-bytes", "²"], "--max-value-bytes: '²' is no number of bytes"),
    (["--max-value-bytes", "8388608"], "no more than the 8388608 bytes of a request"),
    (["--max-key-bytes", "9" * 5000], "no more than the 8388608 bytes of a request"),
    (["a", "b"], "'b' is one argument too many"),
    (["a", "--id", "b"], "'--id' is one argument too many"),
    ([""], "DATA_DIR is empty"),
    (["~nobody.of.this.name/x"], "DATA_DIR ~nobody.of.this.name/x: "),
    # What later versions will know is not taken and ignored by this one.
    (["--max-ttl", "5"], "option --max-ttl not recognized"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), WRONG, ids=[" ".join(words)[:40] for words, _ in WRONG]
)
def test_wrong_option(arguments: Sequence[str], said: str) -> None:
    """
    Each wrong option is one line that says what is wrong with it.
    """
    assert said in refusal_of(*arguments)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The version is hraftd's own.
    """
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("hraftd ")


@pytest.mark.parametrize(
    ("command", "synopsis"),
    [
        ("/usr/bin/hraftd", "Usage: hraftd [options] [DATA_DIR]"),
        (r"hraftd.exe", "Usage: hraftd [options] [DATA_DIR]"),
        ("twistd", "[options] [DATA_DIR]"),
    ],
)
def test_help(monkeypatch: pytest.MonkeyPatch, command: str, synopsis: str) -> None:
    """
    Help begins with the command that was typed, and names every option.
    """
    monkeypatch.setattr(sys, "argv", [command])
    shown = str(Options())
    assert shown.startswith(synopsis)
    for name, *_ in Options.optFlags + Options.optParameters:
        assert f"--{name}" in shown


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_no_error(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Who asks for help gets it, and exit status 0.
    """
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions([option])
    assert not ended.value.code
    assert "--on-follower" in capsys.readouterr().out


class TestPlugin:
    """
    How ``twistd`` finds and uses all this.
    """

    def test_is_one(self) -> None:
        """
        The plugin names the options and the service, and does nothing else.
        """
        from twisted.plugins import hraftd_plugin

        maker = hraftd_plugin.hraftd
        verifyObject(IServiceMaker, maker)
        assert IPlugin.providedBy(maker)
        assert maker.tapname == "hraftd"
        assert maker.options is Options
        assert maker.makeService is makeService
