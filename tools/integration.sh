#!/usr/bin/env bash
# Lists the packages whose tests use the test host or what is built on it, and everything below test/, but not the
# contract suite, which has a target of its own.
set -euo pipefail

{
  go list -e -f '{{.ImportPath}} {{join .XTestImports " "}}' ./... | awk '$0 ~ " github.com/dynod/dynod/test/" { print $1 }'
  go list -e ./test/...
} | grep -v /test/contract$ | sort -u
