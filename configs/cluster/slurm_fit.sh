#!/bin/bash
# One network on several nodes under SLURM: sbatch configs/cluster/slurm_fit.sh
# Edit: the lines of sbatch, CONFIG, ROOT and how the environment is entered. ROOT lies on a file system that
# all nodes share, and is this run's own. Lightning is told the numbers of nodes and tasks below.
#SBATCH --job-name=fit               # not "bash" or "interactive": Lightning would not look for SLURM
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4          # one task a GPU; with --ntasks alone Lightning refuses to start
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@120            # two minutes to save before the time is over
#SBATCH --requeue                    # a preempted job may be queued again by SLURM itself
#SBATCH --open-mode=append
set -uo pipefail

CONFIG=configs/train/transformer.yaml
ROOT=$PWD/lightning_logs/train/transformer
export PATH=$PWD/.venv/bin:$PATH

srun --kill-on-bad-exit=1 scaling-laws fit \
    --config "$CONFIG" \
    --config configs/trainer/bf16-mixed.yaml \
    --config configs/trainer/slurm.yaml \
    --trainer.num_nodes "$SLURM_NNODES" \
    --trainer.devices "$SLURM_NTASKS_PER_NODE" \
    --trainer.enable_progress_bar false \
    --trainer.default_root_dir "$ROOT" \
    --ckpt_path newest
status=$?

# 138 = 128 + SIGUSR1: the time was over, the run is saved and not finished. Who cancels a job (SIGTERM, 143)
# means it.
if [ "$status" -eq 138 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
