"""Operations and layers that all networks share, each with its definition and, where it pays, a fast form."""
