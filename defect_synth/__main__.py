"""`python -m defect_synth`."""

from defect_synth.cli import main

main()
