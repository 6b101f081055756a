# For .ci/run and .ci/full: runs the parts of a test run one after the other, each within its budget.

part_names=()
part_results=()

# part NAME MINUTES COMMAND…: the first part that fails ends the run.
part() {
  local name=$1 minutes=$2 began=$SECONDS status=0
  shift 2
  printf '\n== %s (at most %s minutes)\n' "$name" "$minutes"
  timeout --kill-after=30 "$((minutes * 60))" "$@" || status=$?
  part_names+=("$name")
  part_results+=("$((SECONDS - began)) s of $((minutes * 60))")
  [ "$status" -eq 0 ] && return
  [ "$status" -ne 124 ] || echo "$name exceeded its $minutes minutes" >&2
  echo "$name failed" >&2
  exit "$status"
}

# Prints what each part took.
parts_done() {
  local at
  echo
  for at in "${!part_names[@]}"; do printf '%-40s %s\n' "${part_names[$at]}" "${part_results[$at]}"; done
}
