#!/bin/bash
# One network on several machines without a batch system. On every machine, with its number (0, 1, ...):
#   NODE=0 configs/cluster/torchrun.sh
# Edit: NODES, GPUS, MASTER (the machine with number 0; its port must be reachable), CONFIG, ROOT and how the
# environment is entered. ROOT lies on a file system that all machines share, and is this run's own.
set -euo pipefail

NODE=${NODE:?the number of this machine: 0, 1, ...}
NODES=2
GPUS=4
MASTER=machine0
CONFIG=configs/train/transformer.yaml
ROOT=$PWD/lightning_logs/train/transformer
export PATH=$PWD/.venv/bin:$PATH

# Started again after an interruption, the run goes on from its newest checkpoint. For a network that one GPU
# does not hold, take configs/trainer/fsdp.yaml instead of ddp.yaml.
exec torchrun --nnodes "$NODES" --node-rank "$NODE" --nproc-per-node "$GPUS" \
    --master-addr "$MASTER" --master-port 29500 \
    -m scaling_laws fit \
    --config "$CONFIG" \
    --config configs/trainer/bf16-mixed.yaml \
    --config configs/trainer/ddp.yaml \
    --trainer.num_nodes "$NODES" \
    --trainer.devices "$GPUS" \
    --trainer.enable_progress_bar false \
    --trainer.default_root_dir "$ROOT" \
    --ckpt_path newest
