"""At temperature 0 the built-in server says what llama.cpp says by itself, word for word."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from llamalab.standin.answers import engine, engine_child
from llamalab.standin.answers.local_model import LocalModel
from llamalab.standin.run import BuiltinServer

MODEL = "smollm2:135m"
PROMPTS = """\
Say hello.
Are you listening?
Name three animals.
What is the capital of France?
What is 2 + 2?
Tell me a joke.
Who are you?
Why is the sky blue?
Count to five.
What is a byte?
Write a poem about rain.
How do I boil an egg?
Who was Ada Lovelace?
Name a colour.
What is HTTP?
Translate "good morning" into French.
What does a llama eat?
Give me a word that rhymes with cat.
Where does the sun rise?
Is water wet?""".splitlines()


@pytest.fixture(scope="module")
def plain(model_file):
    """The address of a llama.cpp that has been told nothing but the file and the threads."""
    program = [sys.executable, str(Path(engine_child.__file__))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(program, env=engine.environment(), text=True, **pipes) as child:
        told = {"file": str(model_file), "key": "key", "threads": engine.threads()}
        child.stdin.write(json.dumps(told) + "\n")
        child.stdin.flush()
        yield child.stdout.readline().strip()
        child.kill()


def test_twenty_answers_are_those_of_an_engine_at_its_defaults(plain, model_file):
    def ask_plainly(prompt: str) -> str:
        asked = {"messages": [{"role": "user", "content": prompt}], "temperature": 0}
        asked |= {"max_tokens": 14, "repeat_penalty": 1.0}
        headers = {"Authorization": "Bearer key"}
        answer = requests.post(f"{plain}/v1/chat/completions", json=asked, headers=headers).json()
        return answer["choices"][0]["message"]["content"]

    with BuiltinServer.start(speed=0, engine=LocalModel(MODEL, model_file)) as server:

        def ask(prompt: str) -> str:
            options = {"temperature": 0, "num_predict": 14}
            asked = {"model": MODEL, "prompt": prompt, "stream": False, "options": options}
            return requests.post(f"{server.url}/api/generate", json=asked).json()["response"]

        expected = {prompt: ask_plainly(prompt) for prompt in PROMPTS}
        assert {prompt: ask(prompt) for prompt in PROMPTS} == expected
