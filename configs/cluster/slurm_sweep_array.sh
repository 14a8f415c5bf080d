#!/bin/bash
# A sweep on many machines under SLURM: sbatch configs/cluster/slurm_sweep_array.sh
# Each task of the array takes jobs from the study's folders; there is no master, and tasks may come and go. Edit:
# the lines of sbatch, SWEEP and how the environment is entered. Build the corpus beforehand (scaling-laws data
# build). lightning_logs/ and data/ lie on a file system that all nodes share. docs/sweeps.md has what each
# failure does.
#SBATCH --job-name=sweep
#SBATCH --array=0-7                  # tasks; each has one GPU
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1            # as many as the largest training wants (trainer: {devices: ...})
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120          # two minutes to save before the time is over; this shell passes it on
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail

SWEEP=configs/sweeps/quick.yaml      # with trainer: {accelerator: gpu, devices: 1, precision: bf16-mixed}
WORKERS=4                            # jobs at a time: so many share the GPU
export PATH=$PWD/.venv/bin:$PATH

# A training of a sweep is one process: Lightning shall not take it for a rank of the job.
export SLURM_JOB_NAME=interactive

scaling-laws sweep "$SWEEP" --quiet --workers "$WORKERS" --leave-when-idle &
supervisor=$!
stopped=0
trap 'stopped=1; kill -TERM "$supervisor"' TERM
wait "$supervisor"
status=$?
if [ "$stopped" -eq 1 ]; then
    wait "$supervisor"               # the first wait ended with the signal, the supervisor is still saving
    status=$?
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$status"
