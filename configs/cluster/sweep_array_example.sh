#!/bin/bash
# Written by scaling-laws sweep --engine slurm: each task takes jobs from the study's folder. Submitted by
# sbatch --partition=gpu --account=name --time=4:00:00 --cpus-per-task=8 /scratch/me/scaling_laws/lightning_logs/quick/slurm/1x1.sh
#SBATCH --job-name=quick-19a390c5-1x1
#SBATCH --array=0-15
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --chdir=/scratch/me/scaling_laws
#SBATCH --output=/scratch/me/scaling_laws/lightning_logs/quick/slurm/%A_%a.out
#SBATCH --gpus-per-node=1
set -uo pipefail

module load cuda

# A job that is one process is no rank: Lightning looks for SLURM unless this is the name.
export SLURM_JOB_NAME=interactive
/scratch/me/scaling_laws/.venv/bin/python -m scaling_laws sweep configs/sweeps/quick.yaml --leave-when-idle --only 1x1 --workers 1 &
sweep=$!
# USR1: the time is nearly over. TERM: somebody cancels the task, or wants its node.
trap 'kill -USR1 "$sweep" 2>/dev/null' USR1
trap 'kill -TERM "$sweep" 2>/dev/null' TERM
while kill -0 "$sweep" 2>/dev/null; do wait "$sweep"; done  # a signal ends `wait`, not the sweep
wait "$sweep"
status=$?
echo "the task ended with status $status"
if [ "$status" -eq 138 ]; then  # 128 + USR1: saved, and not finished
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$status"
