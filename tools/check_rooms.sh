#!/usr/bin/env bash
# The rooms of the workspace: which crate may not depend on which, directly or through others.
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
forbid() {
    local crate=$1
    shift
    local tree
    tree=$(cargo tree --edges normal,build --prefix none --package "$crate")
    for other in "$@"; do
        if grep -q "^$other v" <<<"$tree"; then
            echo "$crate must not depend on $other, but does"
            status=1
        fi
    done
}

# PUBLIC: holds nothing of the owner's, and no network.
forbid equicrypt-spec equicrypt-checkpoint equicrypt-cipher equicrypt-engine equicrypt-server equicrypt-gateway tokio
forbid equicrypt-checkpoint equicrypt-cipher equicrypt-engine equicrypt-server equicrypt-gateway tokio
forbid equicrypt-sealed equicrypt-spec equicrypt-checkpoint equicrypt-cipher equicrypt-engine equicrypt-server \
    equicrypt-gateway equicrypt-audit tokio axum reqwest age bech32
forbid equicrypt-machine equicrypt-spec equicrypt-checkpoint equicrypt-cipher equicrypt-engine equicrypt-server \
    equicrypt-gateway equicrypt-audit equicrypt-sealed equicrypt-ring tokio axum reqwest age bech32
forbid equicrypt-ring equicrypt-spec equicrypt-checkpoint equicrypt-cipher equicrypt-engine equicrypt-server \
    equicrypt-gateway equicrypt-audit equicrypt-sealed tokio axum reqwest age bech32
# BLIND: cannot name a key, a tokenizer or a prompt's text.
forbid equicrypt-engine equicrypt-cipher equicrypt-gateway equicrypt-audit tokenizers age bech32 hkdf
# The server has hkdf for sealed requests, in equicrypt-sealed, which has nothing of the owner's.
forbid equicrypt-server equicrypt-cipher equicrypt-gateway equicrypt-audit tokenizers age bech32
# HOST of shares: computes with public weights, and has nothing of an owner's.
forbid equicrypt-linear-host equicrypt-cipher equicrypt-gateway equicrypt-audit equicrypt-shares tokenizers age bech32
# OWNER of shares: no key of the cipher's, no host.
forbid equicrypt-shares equicrypt-cipher equicrypt-gateway equicrypt-audit equicrypt-server equicrypt-linear-host axum reqwest
# OWNER: keys stay away from the network and from the forward pass.
forbid equicrypt-cipher equicrypt-engine equicrypt-server equicrypt-gateway tokio axum reqwest
forbid equicrypt-gateway equicrypt-engine equicrypt-server
# ADVERSARY: sees checkpoints and ids, runs no server.
forbid equicrypt-audit equicrypt-server equicrypt-gateway axum reqwest

# Unsafe code has one place.
if grep -rlE "allow\(.*unsafe_code|^unsafe_code = \"(allow|warn|deny)" --include=*.rs --include=Cargo.toml . | grep -vE "^\./(target|fuzz)/|^\./crates/machine/"; then
    echo "unsafe code belongs in crates/machine"
    status=1
fi

if [ "$status" = 0 ]; then echo "rooms: ok"; fi
exit "$status"
