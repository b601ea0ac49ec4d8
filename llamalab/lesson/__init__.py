"""Opening the lesson: the student's copy of it, and JupyterLab."""
