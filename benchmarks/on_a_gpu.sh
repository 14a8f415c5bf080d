#!/usr/bin/env bash
# All that is to be measured on a GPU, in under ten minutes on one card, into one folder that is committed as it is.
#
#     bash benchmarks/on_a_gpu.sh                       -> results/bench/gpu/
#     WHEELS=wheels bash benchmarks/on_a_gpu.sh         first installs the wheels of that folder, without an index
#     DEVICE=cpu bash benchmarks/on_a_gpu.sh            -> build/on_a_gpu/: toy sizes on a CPU, proves the path
#     python benchmarks/on_a_gpu.py tables              results/bench/gpu -> tables of docs/performance.md, docs/scaling-up.md
#
# A machine without an index needs Python (3.12, say) with a torch of its own (2.11 or later) and the rest as wheels. They are
# made in the development environment of this project, on a machine that has an index:
#
#     python benchmarks/on_a_gpu.py needs > build/needs.txt      # leave out what that machine has: grep -vE '^(numpy|scipy)=='
#     pip download --python-version 3.12 --implementation cp --only-binary=:all: --no-deps -d wheels -r build/needs.txt \
#         --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
#         --platform manylinux2014_x86_64 --platform manylinux_2_5_x86_64 --platform manylinux1_x86_64
#
# They go into a folder of their own (build/on_a_gpu/site) before everything else on the path: nothing that is installed is
# changed, torch is the one that is there, and constraints.txt, which names another, is not used.
#
# Parts, in the order of what they are worth; each has a time limit, each writes as it goes, and one that fails or is stopped
# does not stop the others (parts.csv says which, log.txt why):
#     alone       tokens/s and utilisation at the 124M shape, then by size, beside the plain loop   gpu.py       alone.json
#     stacked     M = 1 ... 64 networks in one step, N = 1e4 ... 1e6                                stacked.py   stacked.json
#     sharing     several small trainings on one card                                               gpu.py       sharing.json
#     precision   speed, memory and loss by precision, eager and compiled                           precision.py precision.json
#     tests       pytest -m gpu, beside the study                                                                tests.xml
#     study       hoffmann2022 at the scale gpu, for all the time that is left (five minutes), and its claims    claims.json
# Environment: DEVICE (cuda), TO (the folder), LIMIT_S (580, of everything), PYTHON (python3), WORKERS (of the study), SLOW (1; a factor
# of all limits, for a busy machine).
set -uo pipefail
cd "$(dirname "$0")/.."
DEVICE=${DEVICE:-cuda} PYTHON=${PYTHON:-python3} SLOW=${SLOW:-1}
LIMIT_S=$((${LIMIT_S:-580} * SLOW))
WORK=build/on_a_gpu
if [ "$DEVICE" = cuda ]; then TO=${TO:-results/bench/gpu}; else TO=${TO:-$WORK/results}; fi
mkdir -p "$TO" "$WORK"
rm -f "$TO"/{parts.csv,log.txt,tests.xml,{alone,stacked,sharing,precision,claims}.json}
rm -rf "$WORK/logs" "$WORK/paper" "$WORK/pytest"
exec > >(tee -a "$TO/log.txt") 2>&1
echo "part,outcome,seconds,limit_s" > "$TO/parts.csv"

export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 MPLBACKEND=agg
export PYTHONPATH="$PWD/$WORK/site:$PWD/src:$PWD"
export TORCHINDUCTOR_CACHE_DIR="$PWD/$WORK/inductor"

part() {  # NAME LIMIT_S COMMAND...: runs it for at most that long, and never beyond the whole script's limit
    local name=$1 limit=$(($2 * SLOW)) begun=$SECONDS status outcome
    shift 2
    [ $((LIMIT_S - SECONDS)) -ge "$limit" ] || limit=$((LIMIT_S - SECONDS))
    if [ "$limit" -lt 5 ]; then
        echo "$name,no time left,0,$limit" >> "$TO/parts.csv"
        return
    fi
    echo "=== $name, at $SECONDS s, for at most $limit s: $*"
    timeout --kill-after=5 "$limit" "$@" < /dev/null
    status=$?
    case $status in 0) outcome=done ;; 124 | 137) outcome=stopped ;; *) outcome="failed ($status)" ;; esac
    echo "=== $name: $outcome after $((SECONDS - begun)) s"
    echo "$name,$outcome,$((SECONDS - begun)),$limit" >> "$TO/parts.csv"
}

if [ -n "${WHEELS:-}" ]; then
    part install 60 "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --upgrade \
        --find-links "$WHEELS" --target "$WORK/site" "$WHEELS"/*.whl
fi
if [ "$DEVICE" = cuda ]; then
    part card 15 nvidia-smi
    SIZE=quick PAPER=hoffmann2022 SCALE=gpu BUDGET="8e14 FLOPs" CORPUS=embedded OF_STUDY=embedded_large STACKED=()
    WORKERS=${WORKERS:-$(($(nproc) < 12 ? $(nproc) : 12))}
    PRECISION=(--n-layer 6 --d-model 512 --n-ctx 256 --batch 32 --steps 100)
    CELLS=(transformer:half:eager transformer:half:compiled transformer:32-true:eager transformer:bf16-true:eager
        lstm:half:eager transformer:32-true:compiled lstm:32-true:eager transformer:bf16-true:compiled)
    LIMITS=(alone=150 stacked=60 sharing=70 precision=70 tests=150)
else
    SIZE=toy PAPER=li2020 SCALE=smoke BUDGET="1e8 FLOPs" CORPUS=tiny OF_STUDY=tiny STACKED=(--toy) WORKERS=${WORKERS:-2}
    PRECISION=(--n-layer 1 --d-model 16 --n-ctx 32 --batch 4 --steps 30)
    CELLS=(transformer:half:eager lstm:32-true:eager)
    LIMITS=(alone=120 stacked=120 sharing=120 precision=120 tests=60)
fi
for each in "${LIMITS[@]}"; do declare "limit_${each%=*}=${each#*=}"; done
part check 60 "$PYTHON" benchmarks/on_a_gpu.py check

# The corpora, all cores at work: beside one another, and before anything is timed.
part corpus_gpu 90 "$PYTHON" benchmarks/gpu.py --device "$DEVICE" --size "$SIZE" --corpus-only &
gpu_corpus=$!
part corpus 90 "$PYTHON" -m scaling_laws data build "configs/data/$CORPUS.yaml" &
corpus=$!
[ "$OF_STUDY" = "$CORPUS" ] || part corpus_of_study 120 "$PYTHON" -m scaling_laws data build "configs/data/$OF_STUDY.yaml"
wait "$gpu_corpus" "$corpus"

part alone "$limit_alone" "$PYTHON" benchmarks/gpu.py --device "$DEVICE" --size "$SIZE" --part alone --target "$TO/alone.json"
part stacked "$limit_stacked" "$PYTHON" benchmarks/stacked.py --device "$DEVICE" "${STACKED[@]}" --target "$TO/stacked.json"
part sharing "$limit_sharing" "$PYTHON" benchmarks/gpu.py --device "$DEVICE" --size "$SIZE" --part sharing --target "$TO/sharing.json"
part precision "$limit_precision" "$PYTHON" benchmarks/precision.py --corpus "data/$CORPUS" "${PRECISION[@]}" \
    --only "${CELLS[@]}" --target "$TO/precision.json"

# Nothing more is timed: the tests beside the study. Other warnings than the pinned versions' are no failures.
spread=()
"$PYTHON" -c "import xdist" 2>/dev/null && [ "$DEVICE" = cuda ] && spread=(-n 4)
part tests "$limit_tests" "$PYTHON" -m pytest -q -m gpu -W default -o addopts= -p no:cacheprovider "${spread[@]}" \
    --basetemp "$WORK/pytest" --junitxml "$TO/tests.xml" tests/training/test_training_gpu.py &
tests=$!
study=$((LIMIT_S - SECONDS - 45))  # the laws, the claims and the page take the rest
[ "$DEVICE" = cuda ] || study=60
part study $((study + 25)) "$PYTHON" -m scaling_laws paper "$PAPER" --scale "$SCALE" --budget "$BUDGET" --quiet \
    --workers "$WORKERS" --stop-after "${study}s" --logs "$WORK/logs" --output "$WORK/paper"
wait "$tests"
runs=$(dirname "$(ls -d "$WORK"/logs/*/plan.json 2>/dev/null | head -1)")
echo "runs of the study: $(ls "$runs"/*/record.json 2>/dev/null | wc -l)"
part claims 45 "$PYTHON" -m scaling_laws paper "$PAPER" --runs "$runs" --output "$WORK/paper"
cp "$WORK/paper/claims.json" "$TO/" 2>/dev/null

cat "$TO/parts.csv"
echo "=== everything took $SECONDS s -> $TO"
sleep 1  # the log's last line
sed -i "s|$PWD/||g" "$TO"/log.txt "$TO"/*.json "$TO"/*.xml 2>/dev/null
exit 0
