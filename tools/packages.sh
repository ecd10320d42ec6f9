#!/usr/bin/env bash
# Lists the packages to test together, those that take the longest first; not those that have a target of their own.
set -euo pipefail

go list ./test/e2e ./network ./logs/capture ./runtime ./... |
  grep -v -e /test/contract$ -e /test/exact$ -e /test/packages$ -e /test/host$ | awk '!seen[$0]++'
