# Sourced by scripts/e2e: steps, waiting, the table.
# shellcheck shell=bash

# A step is a function in a process of its own, which ends at the first command that fails (a function called under `if` or `||` would not).
# Lines of $out/steps: ok|failed|left-out, seconds, name.
step() { # step FUNCTION NAME
  local started=$SECONDS log=$out/$1.log
  if scripts/e2e step "$1" > "$log" 2>&1 < /dev/null; then
    printf 'ok\t%s\t%s\n' "$((SECONDS - started))" "$2" >> "$out/steps"
    printf '  ok      %4s s  %s%s\n' "$((SECONDS - started))" "$2" "$(sed -n 's/^FIGURE: /; /p' "$log" | tr -d '\n')" >&2
  else
    printf 'failed\t%s\t%s\n' "$((SECONDS - started))" "$2" >> "$out/steps"
    printf '  FAILED  %4s s  %s\n' "$((SECONDS - started))" "$2" >&2
    tail -n 25 "$log" | sed 's/^/            /' >&2
    return 1
  fi
}
there() { # there KIND: what such a step takes
  case $1 in
    needed | any) ;;
    own) [ "$E2E_CLUSTER" = own ] ;;
    *) [[ " $ADDONS " == *" $1 "* ]] ;;
  esac
}
all_steps() {
  local kind function name
  while read -r -u 3 kind function name; do
    if ! there "$kind"; then printf 'left-out\t0\t%s\n' "$name" >> "$out/steps"; continue; fi
    if [ "$kind" != needed ] && [ -n "${ONLY:-}" ] && [[ " $ONLY " != *" $function "* ]]; then continue; fi
    if ! step "$function" "$name" && [ "$kind" = needed ]; then
      say "the rest is left out; $out/$function.log"
      break
    fi
  done 3< <(steps)
}
figure() { echo "FIGURE: $*"; }

wait_for() { # wait_for SECONDS COMMAND…: until it succeeds
  local limit=$1 end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then
      echo "not within $limit s: $*"
      "$@" || :
      return 1
    fi
    sleep 0.5
  done
}
never() { # never SECONDS COMMAND…: it does not succeed for so long
  local end=$((SECONDS + $1)); shift
  while [ "$SECONDS" -lt "$end" ]; do
    if "$@" >/dev/null 2>&1; then echo "it did: $*"; return 1; fi
    sleep 0.5
  done
}
fails() { if "$@"; then echo "this should have failed: $*"; return 1; fi; }
says() { # says TEXT COMMAND…
  local text=$1 said; shift
  said=$("$@") || { echo "$said"; return 1; }
  echo "$said"
  grep -q -- "$text" <<< "$said"
}

summarise() { # summarise SECONDS
  local ok=true
  if grep -q '^failed' "$out/steps" || ! grep -q '^ok' "$out/steps"; then ok=false; fi
  python3 - "$out/steps" "$root/target/e2e.json" "$1" <<'END'
import json, sys
lines, out, seconds = sys.argv[1:]
steps = []
for line in open(lines):
    verdict, took, name = line.rstrip("\n").split("\t")
    steps.append({"name": name, "ok": verdict == "ok", "seconds": int(took)} | ({"left_out": True} if verdict == "left-out" else {}))
json.dump({"steps": steps, "seconds": int(seconds)}, open(out, "w"), indent=1)
print(f"\n{'step':74} {'seconds':>7}")
for s in steps:
    print(f"{s['name']:74} {'left out' if s.get('left_out') else s['seconds']:>7} {'' if s['ok'] or s.get('left_out') else 'FAILED'}")
print(f"{'all':74} {seconds:>7}")
END
  $ok || die "not everything works; logs in $out"
}
