"""JupyterLab reads this when it starts; see `llamalab.lesson.jupyterlab.environment`."""

import os

# Its terminals open where it is: in the lesson, so that `python chat.py` finds the script.
os.chdir(os.environ.get("LLAMALAB_LESSON", "."))
