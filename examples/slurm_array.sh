#!/bin/bash
# One job per participant: an array of SLURM, with the command as it is installed or with an Apptainer image.
#
#   export BIDS=/data/study OUT=/data/derivatives/brainseg WORK=/scratch/brainseg LABELS=$PWD/labels.txt
#   find $BIDS -maxdepth 1 -type d -name 'sub-*' -printf '%f\n' | sort > $LABELS
#   mkdir -p $OUT $WORK logs
#   sbatch --array=1-$(wc -l < $LABELS)%100 slurm_array.sh                          # installed with pip
#   SIF=$PWD/bids_brainseg.sif sbatch --array=1-$(wc -l < $LABELS)%100 slurm_array.sh    # with Apptainer
#
# A task that failed or was killed continues where it stopped: sbatch --array=17,42 slurm_array.sh
# OPTIONS, if set, holds more options of bids_brainseg, e.g. "--modalities T1w --mc-samples 5".
#SBATCH --job-name=brainseg
#SBATCH --cpus-per-task=2
#SBATCH --mem=6G
#SBATCH --time=01:00:00
#SBATCH --output=logs/%x_%A_%a.out
set -euo pipefail

: "${BIDS:?root of the dataset}" "${OUT:?folder for the results}" "${WORK:?folder for intermediate results}"
: "${LABELS:?file with one participant a line}" "${SLURM_ARRAY_TASK_ID:?submit this with sbatch --array}"
label=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$LABELS")
[ -n "$label" ] || { echo "$LABELS has no line $SLURM_ARRAY_TASK_ID" >&2; exit 2; }

if [ -n "${SIF:-}" ]; then
    # --cleanenv keeps PYTHONPATH and the like out; --no-home, what pip installed for the user
    run=(apptainer run --cleanenv --no-home --bind "$BIDS:/data:ro" --bind "$OUT:/out" --bind "$WORK:/scratch"
         "$SIF" /data /out)
    work=/scratch
else
    run=(bids_brainseg "$BIDS" "$OUT")
    work=$WORK
fi

# What SLURM granted: without it the program plans with what the node has.
read -ra more <<< "${OPTIONS:-}"
exec "${run[@]}" participant --participant-label "$label" --work-dir "$work" --skip-bids-validation \
    --nprocs "${SLURM_CPUS_PER_TASK:-1}" --omp-nthreads "${SLURM_CPUS_PER_TASK:-1}" \
    ${SLURM_MEM_PER_NODE:+--mem "$SLURM_MEM_PER_NODE"} "${more[@]}"
