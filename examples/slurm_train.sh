#!/bin/bash
# Train one category on several GPUs, here 2 machines of 4. Submit with: sbatch examples/slurm_train.sh
# Submit the same again to continue after a time limit: --resume needs the run folder, which all machines must see.
#SBATCH --job-name=defect-synth-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
# TERM five minutes before the limit: all processes stop after the same iteration, and the first saves.

set -euo pipefail

DATA=${DATA:-/data/mvtec}
CATEGORY=${CATEGORY:-hazelnut}
OUTPUT=${OUTPUT:-$HOME/runs/$CATEGORY}
# sed reads to the end, where head would leave scontrol a closed pipe.
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)

# 8 processes share a batch of 32: 4 images each. The same micro_batch gives the same losses on any number of GPUs.
RESUME=()
if [ -e "$OUTPUT/run.json" ]; then RESUME=(--resume); fi

srun torchrun \
  --nnodes "$SLURM_NNODES" --nproc-per-node 4 --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$HEAD:29500" \
  -m defect_synth train "$DATA" --category "$CATEGORY" --output "$OUTPUT" --preset PAPER_256 \
  --set pretrain.micro_batch=4 --set transfer.micro_batch=4 "${RESUME[@]}"
