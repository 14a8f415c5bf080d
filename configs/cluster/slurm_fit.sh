#!/bin/bash
# One network on several nodes under SLURM: sbatch configs/cluster/slurm_fit.sh
# (A sweep needs no script: scaling-laws sweep FILE --engine slurm.) Edit: the lines of sbatch, CONFIG, ROOT and
# how the environment is entered. ROOT lies on a file system that all nodes share, and is this run's own.
# Submitted again, it goes on from the newest checkpoint, whatever ended it: a time limit, scancel, a dead node.
#SBATCH --job-name=fit               # not "bash" or "interactive": Lightning would not look for SLURM
##SBATCH --partition=gpu             # remove one # if your site needs this line
##SBATCH --account=name
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4          # one task per GPU; with --ntasks alone Lightning refuses to start
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@180            # to save before the time is over; SLURM may send it a minute earlier
#SBATCH --requeue                    # SLURM requeues by itself what it preempts, and what was on a dead node
#SBATCH --open-mode=append
#SBATCH --output=fit-%j.out
set -uo pipefail

CONFIG=configs/train/transformer.yaml
ROOT=$PWD/lightning_logs/train/transformer
export PATH=$PWD/.venv/bin:$PATH

# A rank that has ended leaves the others the time to save: a minute.
srun --kill-on-bad-exit=0 --wait=60 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" scaling-laws fit \
    --config "$CONFIG" \
    --config configs/trainer/bf16-mixed.yaml \
    --config configs/trainer/slurm.yaml \
    --trainer.num_nodes "$SLURM_NNODES" \
    --trainer.devices "$SLURM_NTASKS_PER_NODE" \
    --trainer.enable_progress_bar false \
    --trainer.default_root_dir "$ROOT" \
    --ckpt_path newest
status=$?

# 138 = 128 + SIGUSR1: the time was over, the run is saved and not finished. A cancelled job (SIGTERM, 143) is not
# requeued.
if [ "$status" -eq 138 ]; then
    scontrol requeue "$SLURM_JOB_ID"
elif [ "$status" -ne 0 ]; then
    echo "ended with status $status; sbatch again goes on from the newest checkpoint in $ROOT" >&2
fi
exit "$status"
