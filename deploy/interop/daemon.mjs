// A js-ipfs daemon in a private swarm, which its own command line cannot be told to join.
//
// Usage: node -r ./polyfill.cjs daemon.mjs SWARM_KEY
//
// IPFS_PATH names its repository, whose configuration says where it listens. It speaks yamux beside
// mplex, for nodes that speak only that.

import { readFileSync } from "node:fs";
import { yamux } from "@chainsafe/libp2p-yamux";
import { Daemon } from "ipfs-daemon";
import { createLibp2p } from "libp2p";
import { preSharedKey } from "libp2p/pnet";

const psk = readFileSync(process.argv[2]);

const libp2p = ({ libp2pOptions }) =>
  createLibp2p({
    ...libp2pOptions,
    connectionProtector: preSharedKey({ psk }),
    streamMuxers: [yamux(), ...libp2pOptions.streamMuxers],
    start: false,
  });

const daemon = new Daemon({ repo: process.env.IPFS_PATH, preload: { enabled: false }, libp2p });
await daemon.start();
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => daemon.stop().finally(() => process.exit(0)));
}
