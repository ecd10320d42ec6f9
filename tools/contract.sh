#!/usr/bin/env bash
# Runs the contract suite and shows one line for each sentence, and the count. All else is in build/contract.log, whose
# end is shown when a run ends without its count. Arguments go to go test, such as -run 'TestContract/M3'.
set -euo pipefail

log=build/contract.log
mkdir -p build
status=0
go test -count=1 -v -timeout 10m ./test/contract "$@" 2>&1 | tee "$log" |
  { grep --line-buffered -E '^(passed|failed)  |^[0-9]+ passed, [0-9]+ failed$' || true; } || status=$?
[ "$status" = 0 ] || grep -qE '^[0-9]+ passed, [1-9][0-9]* failed$' "$log" || tail -40 "$log" >&2
exit "$status"
