#!/usr/bin/env bash
# Builds the packages of one version, deb and rpm for each architecture, into a directory. Two builds of a commit are
# the same bytes: no directory, clock, user or umask gets in.
# Usage: build.sh VERSION DIRECTORY; the time of everything is SOURCE_DATE_EPOCH, or else the commit's; ARCHES may name one
# architecture alone.
set -euo pipefail

out=$(realpath -m "$2")
cd "$(dirname "$0")/.."
export VERSION=$1 SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export GOFLAGS="-trimpath -buildvcs=false" CGO_ENABLED=0 LC_ALL=C TZ=UTC PACKAGE_VERSION
PACKAGE_VERSION=$(packaging/version.sh "$VERSION" "$SOURCE_DATE_EPOCH")
unset DYNOD_SOCKET # would be a default in the man pages
ARCHES=${ARCHES:-amd64 arm64}
umask 022

compile() {
  GOARCH=$ARCH go build -ldflags "-s -w -X main.version=$VERSION" -ldflags './cmd/dyno-init=-s -w -E dyno_init' -o "$STAGE/$ARCH/" \
    ./cmd/dynod ./cmd/dynoctl ./cmd/dyno-init
}

# What each program is made of, as its own build information tells it.
bill() {
  mkdir "$STAGE/$ARCH/sbom"
  for program in dynod dynoctl dyno-init; do
    go tool -modfile=tools/sbom/go.mod cyclonedx-gomod bin -json -std -noserial -notimestamp -version "$VERSION" \
      -output "$STAGE/$ARCH/sbom/$program.cdx.json" "$STAGE/$ARCH/$program" 2>"$STAGE/log" || { cat "$STAGE/log" >&2; exit 1; }
  done
}

# Notices of the modules that are linked in, as their licences ask.
notices() {
  GOARCH=$ARCH go list -deps -f '{{with .Module}}{{if .Version}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' \
    ./cmd/dynod ./cmd/dynoctl ./cmd/dyno-init | sort -u | while read -r module version dir; do
    for file in "$dir"/{LICEN[CS]E,NOTICE,COPYING}*; do
      [ ! -f "$file" ] || { printf '==== %s %s: %s\n\n' "$module" "$version" "${file##*/}" && cat "$file" && echo; }
    done
  done | gzip -9n >"$STAGE/$ARCH/third-party-licenses.gz"
}

# What the programs say of themselves: those of this machine, for all.
describe() {
  for program in dynod dynoctl; do "$1/$program" docs man "$STAGE/man"; done
  gzip -9n "$STAGE"/man/*
  mkdir "$STAGE/completions"
  for shell in bash zsh fish; do "$1/dynoctl" completion $shell >"$STAGE/completions/$shell"; done
}

changelog() {
  gzip -9nc CHANGELOG.md >"$STAGE/changelog.gz"
  cat <<END >"$STAGE/changelog.yaml"
- semver: $PACKAGE_VERSION-1
  date: $(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)
  packager: dynod maintainers <dynod@users.noreply.github.com>
  deb: {urgency: medium, distributions: [unstable]}
  changes: [{note: "Built from $VERSION. What changed is in changelog.gz."}]
END
}

rm -rf "$out"
mkdir -p "$out"
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
for ARCH in $ARCHES; do compile && bill && notices; done
describe "$STAGE/$(go env GOHOSTARCH)"
changelog
for ARCH in $ARCHES; do
  sed "s|\${STAGE}|$STAGE|; s|\${ARCH}|$ARCH|" packaging/nfpm.yaml >"$STAGE/nfpm.yaml" # nfpm expands some fields only
  for format in deb rpm; do
    go tool -modfile=tools/nfpm/go.mod nfpm package --config "$STAGE/nfpm.yaml" --packager $format --target "$out"
  done
done
