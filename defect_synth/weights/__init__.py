"""Files of weights from anywhere: what they hold is counted before it is built, and nothing in them is executed."""
