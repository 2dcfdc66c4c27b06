#!/usr/bin/env bash
# Check ALLD on one CUDA GPU, in under 8 minutes of a rented one, and print one table.
#
#     scripts/on_gpu.sh                      # in the activated environment, on a machine with a GPU
#     scripts/on_gpu.sh --dry-run            # on any CPU: the same steps, tiny, and no speed
#
# Training by the paper's recipe (resnet50, 224 px, bf16) on drawn images, stopped and resumed, against
# an undisturbed one; prediction; export; one process under torchrun with NCCL; and images a second
# against stock fastai and the floor. It has not been run on a GPU yet: all its GPU figures are "not measured".
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = "--dry-run" ]; then
  device=cpu arch=timm:test_resnet size=32 images=40 epochs=1 precision=fp32
else
  python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || {
    echo "error: no CUDA GPU here, or no ALLD in this environment; --dry-run needs no GPU" >&2
    exit 2
  }
  device=cuda arch=resnet50 size=224 images=260 epochs=4 precision=bf16
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
table="$work/table"
common=(--arch "$arch" --no-pretrained --image-size "$size" --device "$device" --epochs "$epochs"
  --data "$work/cells" --set "runtime.precision=$precision" --set train.frozen_epochs=1
  --set evaluate.heat_maps=false --set evaluate.background=false)
if [ "$device" = cpu ]; then common+=(--batch-size 8 --set evaluate.bootstrap_draws=100); fi

row() { printf '%-34s %-14s %s\n' "$1" "$2" "$3" | tee -a "$table"; }

# run NAME COMMAND...: a row with the seconds, or with "failed" and the end of what was said.
failed=0
run() {
  local name=$1 began
  shift
  began=$(date +%s)
  if "$@" >"$work/log" 2>&1; then
    row "$name" ok "$(($(date +%s) - began)) s"
  else
    failed=1
    row "$name" FAILED "$(tail -n 1 "$work/log")"
  fi
}

# A training that is stopped in its second epoch, and goes on.
resumed() {
  alld train "${common[@]}" --out "$work/stopped" &
  local pid=$!
  while kill -0 "$pid" 2>/dev/null && [ ! -d "$work/stopped/checkpoints/epoch-001" ]; do sleep 0.2; done
  kill -INT "$pid" 2>/dev/null || true
  wait "$pid" || true
  [ -d "$work/stopped/model.alld" ] || alld train --resume "$work/stopped"
}

# Largest difference of P(blast) on the drawn cells between two models.
difference() {
  python3 - "$work/cells" "$device" "$@" <<'PYTHON'
import sys

import alld

cells, device, first, second = sys.argv[1:]
rows = [alld.load(model, device).predict(cells) for model in (first, second)]
differences = [abs(a.probability - b.probability) for a, b in zip(*rows, strict=True)]
print(f"{max(differences):.1e}")
PYTHON
}

run "draw $images cells" alld synth "$work/cells" --n "$images"
run "train $arch, $size px, $precision" alld train "${common[@]}" --out "$work/run"
run "evaluate" alld evaluate "$work/run"
run "stop and resume" resumed
row "  resumed against undisturbed" "$(difference "$work/run" "$work/stopped")" "P(blast), largest"
run "predict" alld predict "$work/cells" --model "$work/run" --device "$device" --out "$work/rows.csv"
run "export to ONNX" alld export "$work/run" --out "$work/cells.onnx"
row "  GPU against ONNX on the CPU" "$(difference "$work/run" "$work/cells.onnx" 2>/dev/null || echo none)" "P(blast), largest"
run "one process under torchrun" torchrun --standalone --nproc_per_node 1 -m alld train "${common[@]}" --out "$work/ddp"
row "  torchrun against plain" "$(difference "$work/run" "$work/ddp")" "P(blast), largest"

if [ "$device" = cuda ]; then
  split="$work/run/split.csv"
  # Images of a part of the split: part_of train.
  part_of() { python3 -c 'import csv, sys; print(sum(r["part"] == sys.argv[2] for r in csv.DictReader(open(sys.argv[1]))))' "$split" "$1"; }
  rate() { python3 -c 'import json, sys; d = json.loads(sys.stdin.read().splitlines()[-1]); print(round(d["images"] / d["seconds"]))'; }
  same=(--arch "$arch" --epochs "$epochs" --frozen-epochs 1 --device cuda)
  floor=$(python3 scripts/floor.py train "${same[@]}" --training "$(part_of train)" --validation "$(part_of valid)" | rate)
  stock=$(python3 scripts/stock_fastai.py train "${same[@]}" --data "$work/cells" --split "$split" | rate)
  own=$(python3 -c 'import csv, sys; r = [float(x["seconds"]) for x in csv.DictReader(open(sys.argv[1]))]; print(round(int(sys.argv[2]) * len(r) / sum(r)))' "$work/run/history.csv" "$(part_of train)")
  row "floor: the arithmetic alone" "$floor" "training images/s"
  row "stock fastai" "$stock" "training images/s"
  row "alld train" "$own" "training images/s"
fi

echo
echo "SYNTHETIC images. Research use only. $(python3 -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "a CPU: speed not measured")')"
exit "$failed"
