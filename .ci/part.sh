# For .ci/run and .ci/full: runs the parts of a test run one after the other, each within its budget.

part_names=()
part_results=()

# part NAME MINUTES COMMAND…: the first part that fails ends the run. If `most_minutes` is set, all parts end within it.
part() {
  local name=$1 minutes=$2 began=$SECONDS status=0 left
  shift 2
  printf '\n== %s (at most %s minutes)\n' "$name" "$minutes"
  left=$((${most_minutes:-100000} * 60 - SECONDS))
  [ "$left" -gt "$((minutes * 60))" ] && left=$((minutes * 60))
  [ "$left" -gt 0 ] || left=1
  timeout --kill-after=30 "$left" "$@" || status=$?
  part_names+=("$name")
  part_results+=("$((SECONDS - began)) s of $((minutes * 60))")
  [ "$status" -eq 0 ] && return
  [ "$status" -ne 124 ] || echo "$name exceeded its $minutes minutes, or the run its ${most_minutes:-unlimited}" >&2
  echo "$name failed" >&2
  exit "$status"
}

# Prints what each part took.
parts_done() {
  local at
  echo
  for at in "${!part_names[@]}"; do printf '%-40s %s\n' "${part_names[$at]}" "${part_results[$at]}"; done
}
