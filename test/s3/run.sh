#!/usr/bin/env bash
# The S3 driver on a MinIO server of its own: test/s3/README.md. Arguments choose test files: run.sh contract minio;
# `dialogues` are those of test/compliance about uploads.
set -euo pipefail
cd "$(dirname "$0")/../.."
source test/s3/with-server.sh
[ $# -gt 0 ] || set -- contract minio dialogues
failed=()
for name in "$@"; do
  if [ "$name" = dialogues ]; then
    WAXWING_CONTENTS=s3 npm test -- compliance/xep-0363 || failed+=("$name")
    WAXWING_CONTENTS=s3 WAXWING_NODES=2 WAXWING_SPREAD=1 npm test -- compliance/xep-0363 || failed+=("$name on two nodes")
    continue
  fi
  node --test --test-reporter=dot --test-timeout=240000 "dist/test/s3/$name.test.js" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || {
  echo "s3: failed: ${failed[*]}" >&2
  exit 1
}
