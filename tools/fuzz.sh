#!/usr/bin/env bash
# Runs fuzz targets for the given time each (default 10s), two at a time with one worker each: those named after it as
# <package>:<target>, or all. Of one that fails its words and the input are printed.
set -euo pipefail
export TIME=${1:-10s}
shift || true

targets() {
  for package in $(go list ./...); do
    go test -short -list '^Fuzz' "$package" | awk -v p="$package" '/^Fuzz/ { print p ":" $1 }' || return
  done
}

run() {
  local package=${1%:*} target=${1##*:} out
  if out=$(go test -short -run '^$' -fuzz "^$target\$" -fuzztime "$TIME" -fuzzminimizetime 1s -parallel 1 "$package" 2>&1); then
    echo "$target: $(grep '^fuzz: elapsed' <<<"$out" | tail -1)"
    return
  fi
  # What Go 1.26 may say when the time is over (go.dev/issue/75804): nothing was found.
  if grep -q '^ *context deadline exceeded$' <<<"$out" && ! grep -q -e 'Failing input' -e panic -e '_test.go:' <<<"$out"; then
    echo "$target: time is over"
    return
  fi
  printf '%s\n' "$out" "$target FAILED"
  local input
  input=$(sed -n 's/^ *Failing input written to //p' <<<"$out")
  [ -z "$input" ] || cat "$(go list -f '{{.Dir}}' "$package")/$input"
  return 1
}
export -f run

if [ $# -gt 0 ]; then list=$(printf '%s\n' "$@"); else list=$(targets); fi
# shellcheck disable=SC2016 # the other bash expands it
xargs -P 2 -I{} bash -euo pipefail -c 'run "$1"' _ {} <<<"$list"
