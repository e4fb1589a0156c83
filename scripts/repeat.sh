#!/usr/bin/env bash
# Repeats a run with consecutive seeds and sums the runs up in one table. See --help.
set -u

usage() {
  cat <<'TEXT'
Usage: scripts/repeat.sh [--batch DIR] [--fresh] N [failstorm options…]

Runs failstorm N times with the given options, with seeds S, S+1, … (S from --seed, else random), one after the other.
A run that fails does not stop the others. At the end: one table with median and range of the headline measures.

  --batch DIR   where the metrics of each run are kept (default: <project>/results/repeat/<options>-<S>); not for other
                options than those of the runs that are there
  --fresh       begin anew where an unfinished batch of the same options and seed is there; else it is continued

The metrics of each run are DIR/seed-<seed>.json, its exit code is in DIR/seed-<seed>.code, and its run folder lies in
results/ (or --results) as usual. Interrupted (Ctrl-C), the script ends after the table; the same call with the same --seed
continues.

Exit code: the worst of the runs: 0 done, 1 a run failed, 2 bad input (nothing more is started), 3 an invariant is broken;
130 or 143 when interrupted.

Examples:
  scripts/repeat.sh 20 --agents 8 --seed 1
  scripts/repeat.sh 20 --agents 8 --seed 1 --transport-signals
  scripts/repeat.sh 5 --agents 4 --time-scale 0.1 --kill-fraction 0
TEXT
}

fail() {
  printf 'repeat.sh: %s\n' "$1" >&2
  exit 2
}

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)" || exit 1
batch=""
fresh=no
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) usage; exit 0 ;;
    --batch) [ $# -ge 2 ] || fail "--batch: needs a folder"; batch="$2"; shift 2 ;;
    --fresh) fresh=yes; shift ;;
    *) break ;;
  esac
done
[ $# -ge 1 ] || { usage >&2; exit 2; }
count="$1"
shift
case "$count" in
  '' | *[!0-9]* | 0*) fail "N $count: must be a whole number of at least 1, for example scripts/repeat.sh 20 --agents 8" ;;
esac

# The seed is ours to count up; everything else goes to failstorm as it is.
seed=""
options=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seed) [ $# -ge 2 ] || fail "--seed: needs a number"; seed="$2"; shift 2 ;;
    --seed=*) seed="${1#--seed=}"; shift ;;
    --json | --quiet) shift ;;
    *) options+=("$1"); shift ;;
  esac
done
if [ -z "$seed" ]; then seed=$(((RANDOM << 15 | RANDOM) + 1)); fi
case "$seed" in
  *[!0-9]*) fail "--seed $seed: must be a whole number, for example 42" ;;
esac
seed=$((10#$seed))

if [ ! -d "$root/node_modules" ]; then (cd "$root" && pnpm install >&2) || exit 1; fi
# Not node_modules/.bin/node: that is a shell script around it, and a signal to a shell script does not reach its child.
node="$root/node_modules/node/bin/node"
[ -x "$node" ] || node=node
failstorm() { "$node" "$root/packages/cli/src/main.ts" "$@"; }

# Not the options themselves: there may be a key among them.
mark="$(printf '%s\n' ${options[@]+"${options[@]}"} | cksum | cut -d ' ' -f 1)"
if [ -z "$batch" ]; then
  batch="$root/results/repeat/$mark-$seed"
  # A finished batch is a result: a new call measures anew beside it.
  if [ -e "$batch/finished" ]; then batch="$batch-$(date -u +%Y%m%d-%H%M%S)"; fi
fi
if [ "$fresh" = yes ]; then rm -f "$batch"/seed-*.json "$batch"/seed-*.code "$batch/finished" "$batch/options"; fi
mkdir -p "$batch" || fail "--batch $batch: cannot be made; choose another folder"
# Runs of other options are no repeats of these.
if [ -e "$batch/options" ] && [ "$(cat "$batch/options")" != "$mark" ]; then
  fail "--batch $batch: holds runs with other options; choose another folder, or --fresh to begin anew"
fi

printf 'repeat.sh: %s runs, seeds %s to %s, batch %s\n' "$count" "$seed" "$((seed + count - 1))" "$batch" >&2
worst=0
interrupted=0
# The run ends in order by itself; the script must outlive it to print the table.
trap 'interrupted=130' INT
trap 'interrupted=143; [ -z "${child:-}" ] || kill -TERM "$child" 2>/dev/null' TERM
files=()
run=0
while [ "$run" -lt "$count" ] && [ "$interrupted" -eq 0 ]; do
  own=$((seed + run))
  run=$((run + 1))
  metrics="$batch/seed-$own.json"
  if [ -s "$metrics" ] && [ -e "$batch/seed-$own.code" ]; then
    code="$(cat "$batch/seed-$own.code")"
    printf 'repeat.sh: run %s of %s, seed %s: done before (exit code %s)\n' "$run" "$count" "$own" "$code" >&2
  else
    printf 'repeat.sh: run %s of %s, seed %s\n' "$run" "$count" "$own" >&2
    failstorm ${options[@]+"${options[@]}"} --seed "$own" --json >"$metrics.tmp" &
    child=$!
    wait "$child"
    code=$?
    # A trapped signal ends `wait` early: the run itself is still ending.
    while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
    child=""
    case "$code" in
      129 | 130 | 143) interrupted="$code" ;;
    esac
    # Cut short (a full disk), it is no metrics.
    if [ "$interrupted" -ne 0 ] || [ "$(tail -c 2 "$metrics.tmp")" != "}" ]; then rm -f "$metrics.tmp"; else
      printf '%s\n' "$mark" >"$batch/options"
      mv "$metrics.tmp" "$metrics"
      printf '%s\n' "$code" >"$batch/seed-$own.code"
    fi
  fi
  if [ -s "$metrics" ]; then files+=("$metrics"); fi
  if [ "$code" -gt "$worst" ]; then worst="$code"; fi
  if [ "$code" -eq 2 ]; then break; fi
  if [ "$code" -ne 0 ]; then printf 'repeat.sh: seed %s: exit code %s\n' "$own" "$code" >&2; fi
done

if [ "${#files[@]}" -gt 0 ]; then failstorm table "${files[@]}"; else printf 'repeat.sh: no run gave metrics\n' >&2; fi
if [ "$interrupted" -ne 0 ]; then
  printf 'repeat.sh: interrupted; continue with the same call and --seed %s\n' "$seed" >&2
  exit "$interrupted"
fi
if [ "$worst" -ne 2 ]; then : >"$batch/finished"; fi
exit "$worst"
