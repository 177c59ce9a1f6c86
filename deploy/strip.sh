#!/usr/bin/env bash
# A copy of a binary without its symbols: deploy/strip.sh BINARY COPY
# By the Rust toolchain's own tool, which knows every architecture; binutils' strip knows this machine's.
set -euo pipefail
sysroot=$(rustc --print sysroot)
LD_LIBRARY_PATH=$sysroot/lib "$(rustc --print target-libdir)/../bin/rust-objcopy" --strip-unneeded "$1" "$2"
chmod 755 "$2"
