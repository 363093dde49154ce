"""mPLUG-Owl2, the model of Q-Align, OneAlign, DeQA-Score, Q-Instruct and Co-Instruct, in our own code."""
