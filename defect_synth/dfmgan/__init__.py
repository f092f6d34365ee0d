"""Figure 2 of the paper, left to right: layers, backbone, residual branch, DFMGAN, discriminators."""
