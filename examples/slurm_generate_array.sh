#!/bin/bash
# Draw 1000 samples of each defect in 16 parts, each a job of its own. Submit with: sbatch examples/slurm_generate_array.sh
# Parts may run in any order, at once, or again after a failure; the last to finish writes the index and the contact sheet.
#SBATCH --job-name=defect-synth-generate
#SBATCH --array=1-16
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=02:00:00

set -euo pipefail

RUN=${RUN:-$HOME/runs/hazelnut}
OUTPUT=${OUTPUT:-$HOME/synthetic}
PARTS=${PARTS:-16} # not SLURM_ARRAY_TASK_COUNT: that shrinks when only failed parts are submitted again

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-4}

srun defect-synth generate "$RUN" --output "$OUTPUT" --count 1000 --shard "$SLURM_ARRAY_TASK_ID/$PARTS"
