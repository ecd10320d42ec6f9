#!/usr/bin/env bash
# Turns what git describe says into a version that Debian and RPM take and sort alike: v1.2.3-rc.1 comes before v1.2.3,
# commits after a tag come after it. Without a tag the commit's time is the version; it sorts before every tag.
# Usage: version.sh DESCRIBED COMMIT-TIME (seconds since 1970).
set -euo pipefail

if [[ $1 =~ ^v?([0-9]+\.[0-9]+\.[0-9]+)(-([a-z]+\.?[0-9]+))?(-([0-9]+)-(g[0-9a-f]+))?(-dirty)?$ ]]; then
  m=("${BASH_REMATCH[@]}")
  version=${m[1]}${m[3]:+~${m[3]}}${m[5]:++${m[5]}.${m[6]}}
  dirty=${m[7]}
elif [[ $1 =~ ^([0-9a-z]+)(-dirty)?$ ]]; then
  version=0.0.0+$(date -u -d "@$2" +%Y%m%d%H%M%S).${BASH_REMATCH[1]}
  dirty=${BASH_REMATCH[2]}
else
  echo "version.sh: \"$1\" is no version: want what git describe --tags --always --dirty says of tags like v1.2.3-rc.1" >&2
  exit 64
fi
echo "$version${dirty:++dirty}"
