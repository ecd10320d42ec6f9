#!/usr/bin/env bash
# Runs every fuzz target, one after another, for the given time each (default 10s).
set -euo pipefail

for package in $(go list ./...); do
  for target in $(go test -short -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    go test -short -run '^$' -fuzz "^$target\$" -fuzztime "${1:-10s}" "$package"
  done
done
