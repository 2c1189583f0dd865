#!/usr/bin/env bash
# What a machine with NVIDIA GPUs shows in ten minutes, as one JSON document.
#
#   benches/gpu.sh --prepare      builds the program and the parity suite for CUDA; takes long, not timed
#   benches/gpu.sh [OPTIONS]      checks parity on the GPU, then measures
#
#   --devices N       most GPUs that train together: 1, 2, 4, ... up to N are measured (default 1)
#   --batch-size N    examples of a step on each GPU (default 32)
#   --python FILE     an interpreter with PyTorch for CUDA (default python3); without PyTorch the program
#                     is measured alone
#   --minutes N       limit of the whole (default 10): what is not done by then is named in the document
#   --out FILE        the document (default gpu.json)
#   --dry-run         prints the commands instead
#
# Parity comes first, then one GPU, then several, so that a short time still answers the main questions.
# Kernels are compiled in the first steps, which are not timed.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'gpu.sh: %s\n' "$1" >&2; exit 2; }

devices=1 batch_size=32 python=python3 minutes=10 out=gpu.json dry_run='' prepare=''
while [ $# -gt 0 ]; do
    name=${1#--} name=${name//-/_}
    case $1 in
        --devices | --batch-size | --minutes)
            [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || fail "$1 must be a number of at least 1 (got '${2:-}')"
            printf -v "$name" %s "$2"
            shift 2
            ;;
        --python | --out)
            [ -n "${2:-}" ] || fail "$1 needs a value"
            printf -v "$name" %s "$2"
            shift 2
            ;;
        --prepare | --dry-run) printf -v "$name" 1; shift ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) fail "unknown argument '$1'; --help lists what there is" ;;
    esac
done

program=$PWD/target/release/oscar-bin
work=$PWD/target/gpu
features=oscar-bin/cuda,oscar-tests/cuda

# say COMMAND...: runs it, or prints it with --dry-run.
say() { if [ -n "$dry_run" ]; then printf '%s\n' "$*"; else "$@"; fi; }

# The executable of the parity suite, which then runs without cargo.
keep_suite() {
    cargo test --release --locked --workspace --features $features --test parity --no-run \
        --message-format=json >"$work/build.json"
    "$python" - "$work" <<'PYTHON'
import json, pathlib, shutil, sys
work = pathlib.Path(sys.argv[1])
made = (json.loads(line) for line in (work / "build.json").read_text().splitlines())
suites = [one["executable"] for one in made if one.get("target", {}).get("name") == "parity" and one["executable"]]
shutil.copy2(suites[-1], work / "parity")
PYTHON
}

if [ -n "$prepare" ]; then
    mkdir -p "$work"
    say cargo build --release --locked --workspace --features $features --bin oscar-bin
    say keep_suite
    exit 0
fi

if [ -z "$dry_run" ]; then
    [ -x "$program" ] && [ -x "$work/parity" ] || fail "run benches/gpu.sh --prepare first"
    "$program" devices | grep '^cuda ' | grep -qv 'none:' || { "$program" devices >&2; fail "no GPU is ready"; }
    rm -rf "$work/results"
    mkdir -p "$work/results"
fi
end=$((SECONDS + 60 * minutes))

# part NAME COMMAND...: runs it in the time that is left; how it ended is in results/NAME.status.
part() {
    local name=$1 left=$((end - SECONDS)) status=0
    shift
    if [ -n "$dry_run" ]; then
        printf '%s: %s\n' "$name" "$*"
        return
    fi
    printf '== %s, %d s left\n' "$name" "$left" >&2
    if [ "$left" -lt 10 ]; then
        echo 'not started: no time was left' >"$work/results/$name.status"
        return
    fi
    timeout "$left" "$@" >"$work/results/$name.log" 2>&1 || status=$?
    case $status in
        0) echo done ;;
        124) echo 'stopped: no time was left' ;;
        *) echo "failed with exit code $status" ;;
    esac >"$work/results/$name.status"
    [ $status -eq 0 ] || tail -5 "$work/results/$name.log" >&2
}

part parity "$work/parity" cuda --nocapture

torch=()
if [ -n "$dry_run" ] || "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>"$work/torch"; then
    torch=(--torch best:f32,best:bf16)
else
    echo 'PyTorch for CUDA is not there: nothing is compared with it' | tee "$work/results/pytorch.status" >&2
fi
part one_gpu "$python" benches/run.py --rust cuda:bf16,cuda:f32 "${torch[@]}" --device cuda --work pretrain \
    --batch-size "$batch_size" --rounds 1 --steps 30 --warmup 10 --json "$work/results/one_gpu.json"

for ((count = 1; count <= devices; count *= 2)); do
    part "train_$count" "$program" --quiet train --backend cuda --precision bf16 \
        --devices "$(seq -s, 0 $((count - 1)))" --steps 120 --name "gpus-$count" --runs-dir "$work/results" \
        --set model.preset=base --set train.batch_size=$((batch_size * count)) \
        --set train.validate_every=120 --set train.save_every=120
done

say "$python" benches/gpu.py "$work/results" "$out"
