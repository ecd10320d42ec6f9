#!/usr/bin/env bash
# Lists the packages whose tests use the test host or what is built on it, and everything below test/, but not those
# that have a target of their own.
set -euo pipefail

{
  go list -e -f '{{.ImportPath}} {{join .XTestImports " "}}' ./... | awk '$0 ~ " github.com/dynod/dynod/test/" { print $1 }'
  go list -e ./test/...
} | grep -v -e /test/contract$ -e /test/exact$ -e /test/packages$ | sort -u
