"""What is said about each exercise: steps for `hint`, solutions, and common wrong attempts.

The tests run all of it: a solution has to be right, and a wrong attempt has to get its question.
"""

from textwrap import dedent, indent
from typing import NamedTuple


class Attempt(NamedTuple):
    """A common wrong attempt, and a part of the question that `check` asks about it.

    `code` is the body of the function; of a script it is the complete text.
    """

    code: str
    asks: str


class Solution(NamedTuple):
    """`steps`, each telling more than the one before; the code; perhaps another way to write it."""

    steps: list[str]
    code: str
    another: str
    attempts: list[Attempt]

    def program(self, attempt: Attempt) -> str:
        """A wrong attempt as a student's cell: the solution's imports and first line, its body."""
        first, found, _ = self.code.partition("):\n")
        if not found:
            return attempt.code
        return f"{first}):\n{indent(dedent(attempt.code).strip(), '    ')}\n"


def _changed(script: str, *changes: tuple[str, str]) -> str:
    """A script with these changes; each old text has to be in it once."""
    for old, new in changes:
        if script.count(old) != 1:
            raise ValueError(f"not once in the script: {old!r}")
        script = script.replace(old, new)
    return script


ASK_SCRIPT = """\
import json
import os
import sys

import requests

SERVER = os.environ["OLLAMA_HOST"]
prompt = sys.argv[1]

json_data = {"model": "mistral", "prompt": prompt}
response = requests.post(f"{SERVER}/api/generate", json=json_data)
for json_line in response.iter_lines():
    answer = json.loads(json_line)
    print(answer["response"], end="")
print()
"""

MODEL_OPTION = """\
import json
import os
import sys

import requests

SERVER = os.environ["OLLAMA_HOST"]

if len(sys.argv) == 4 and sys.argv[1] == "--model":
    model, prompt = sys.argv[2], sys.argv[3]
elif len(sys.argv) == 2:
    model, prompt = "mistral", sys.argv[1]
else:
    print('usage: python my_script.py [--model NAME] "your prompt"', file=sys.stderr)
    sys.exit(2)

json_data = {"model": model, "prompt": prompt}
response = requests.post(f"{SERVER}/api/generate", json=json_data)
for json_line in response.iter_lines():
    answer = json.loads(json_line)
    print(answer["response"], end="")
print()
"""

EXIT_CODE = """\
import json
import os
import sys

import requests

SERVER = os.environ["OLLAMA_HOST"]

if len(sys.argv) != 2:
    print('How to use it: python my_script.py "your prompt"', file=sys.stderr)
    sys.exit(2)

json_data = {"model": "mistral", "prompt": sys.argv[1]}
answer = {}
try:
    response = requests.post(f"{SERVER}/api/generate", json=json_data)
    for json_line in response.iter_lines():
        answer = json.loads(json_line)
        if "error" in answer:
            print(answer["error"], file=sys.stderr)
            sys.exit(1)
        print(answer["response"], end="")
except requests.RequestException:
    print(f"No answer came from {SERVER}.", file=sys.stderr)
    sys.exit(1)
print()

if not answer.get("done"):
    print("The answer is not complete.", file=sys.stderr)
    sys.exit(1)
"""

CHAT_SCRIPT = '''\
import json
import os
import sys

import requests

SERVER = os.environ["OLLAMA_HOST"]


def ask(messages):
    """Print each fragment as it arrives; return the text and what went wrong ("" if nothing)."""
    text = ""
    try:
        json_data = {"model": "mistral", "messages": messages}
        url = f"{SERVER}/api/chat"
        response = requests.post(url, json=json_data, stream=True, timeout=(5, 330))
        for json_line in response.iter_lines(chunk_size=None):
            answer = json.loads(json_line)
            if "error" in answer:
                return text, f"The server says: {answer['error']}"
            fragment = answer["message"]["content"]
            print(fragment, end="", flush=True)
            text += fragment
            if answer["done"]:
                return text, ""
    except (requests.RequestException, ValueError, TypeError, KeyError):
        return text, "The connection to the server broke. Please ask again."
    return text, "The answer is not complete. Please ask again."


messages = []
for line in sys.stdin:
    messages.append({"role": "user", "content": line.strip()})
    text, trouble = ask(messages)
    print()
    if trouble:
        print(trouble)
        messages.pop()
    else:
        messages.append({"role": "assistant", "content": text})
'''

SOLUTIONS: dict[str, Solution] = {
    "who_answered": Solution(
        [
            "A record is a dictionary. Square brackets read a key, as in any dictionary.",
            'The key is "model". Give its value back with `return`.',
        ],
        """\
def who_answered(record):
    return record["model"]
""",
        "",
        [
            Attempt('return "mistral"', "from the record, or from your code"),
            Attempt('return record["name"]', "Which key of the record has the name"),
            Attempt('print(record["model"])', "Does the function also give it back"),
            Attempt('record["model"]', "Does it start with `return`"),
            Attempt('model = record.pop("model")\nreturn model', "changes the value that"),
            Attempt("return model", "does not know the name model"),
            Attempt("return record.model", "with a dot, or with square brackets"),
        ],
    ),
    "status_and_type": Solution(
        [
            "`return a, b` returns a pair. The status code is response.status_code.",
            "response.headers works like a dictionary, and so it has the method `get`. `get` gives "
            "None where a key is missing.",
        ],
        """\
def status_and_type(response):
    return response.status_code, response.headers.get("Content-Type")
""",
        """\
def status_and_type(response):
    content_type = None
    if "Content-Type" in response.headers:
        content_type = response.headers["Content-Type"]
    return response.status_code, content_type
""",
        [
            Attempt("return [response.status_code, response.headers['Content-Type']]", "A pair"),
            Attempt("return response.status_code", "A pair has two values"),
            Attempt("return response.headers['Content-Type'], response.status_code", "A pair"),
            Attempt("return 200, response.headers['Content-Type']", "another status"),
            Attempt("return response.status_code, response.headers['Content-Type']", "missing key"),
            Attempt("print(response.status_code, response.headers)", "Does the function also"),
            Attempt("return status_code, headers", "does not know the name status_code"),
        ],
    ),
    "split_lines": Solution(
        [
            'Bytes have the method `split`, too. It wants bytes: content.split(b"\\n").',
            'Decode each line: line.decode("utf-8"). A list comprehension does it for all.',
            "An `if line` at the end of the list comprehension leaves out the blank lines.",
        ],
        """\
def split_lines(content):
    return [line.decode("utf-8") for line in content.split(b"\\n") if line]
""",
        """\
def split_lines(content):
    lines = []
    for line in content.splitlines():
        if line:
            lines.append(line.decode("utf-8"))
    return lines
""",
        [
            Attempt("return content.splitlines()", "Which of your values are bytes"),
            Attempt('return content.split("\\n")', "Which of the two is bytes"),
            Attempt('return content.decode().split("\\n")', "after the last newline"),
            Attempt("return content.decode().split()", "only at newlines"),
            Attempt('return content.decode("latin-1").splitlines()', "How many bytes does é have"),
            Attempt("return content.decode().splitlines()", "What is between them"),
            Attempt(
                "return [line for line in content.decode().splitlines() if line]",
                "Do you cut the text or the bytes",
            ),
            Attempt(
                'return (line.decode() for line in content.split(b"\\n") if line)',
                "Is this already a list",
            ),
            Attempt(
                """
                for line in content.split(b"\\n"):
                    if line:
                        return [line.decode("utf-8")]
                return []
                """,
                "Where is your `return`: inside the loop",
            ),
            Attempt(
                """
                for line in content.split(b"\\n"):
                    if line:
                        print(line.decode("utf-8"))
                """,
                "Does the function also give it back",
            ),
        ],
    ),
    "load_answers": Solution(
        [
            "`json.loads` turns one line into one dictionary.",
            "A list comprehension does it for each line, as in the cell that made `answers`.",
            "A line that is cut off raises an error. Let it out: you need no `try`.",
        ],
        """\
import json

def load_answers(lines):
    return [json.loads(line) for line in lines]
""",
        """\
import json

def load_answers(lines):
    answers = []
    for line in lines:
        answers.append(json.loads(line))
    return answers
""",
        [
            Attempt("return json.loads(lines)", "What does json.loads make of one line"),
            Attempt("return lines", "What does json.loads make of one line"),
            Attempt("return (json.loads(line) for line in lines)", "Is this already a list"),
            Attempt("return map(json.loads, lines)", "Is this already a list"),
            Attempt("return [json.load(line) for line in lines]", "function of json takes a text"),
            Attempt("return [json.loads(line.decode()) for line in lines]", "text already"),
            Attempt("return [json.loads(lines[0])]", "Where is your `return`: inside the loop"),
            Attempt(
                "for line in lines:\n    answers = [json.loads(line)]\nreturn answers",
                "Where do you collect the items",
            ),
            Attempt(
                "for line in lines:\n    answers = []\n    answers.append(json.loads(line))\n"
                "return answers",
                "Where do you collect the items",
            ),
            Attempt("return [jsn.loads(line) for line in lines]", "does not know the name jsn"),
            Attempt(
                "return [json.loads(line) for line in lines or ['{}']]", "How many dictionaries are"
            ),
            Attempt(
                "return [json.loads(line.replace('\\\\n', ' ')) for line in lines]",
                "Does json.loads read the JSON",
            ),
            Attempt(
                """
                answers = []
                for line in lines:
                    try:
                        answers.append(json.loads(line))
                    except ValueError:
                        continue
                return answers
                """,
                "How does the caller of your function notice it",
            ),
            Attempt("for line in lines:\n    print(json.loads(line))", "Does the function also"),
        ],
    ),
    "tokens_per_second": Solution(
        [
            "Speed is tokens divided by seconds. eval_count has the tokens of the answer.",
            "eval_duration has the time for them, in nanoseconds. 1e9 nanoseconds are one second.",
            "A server leaves out what is zero. Ask first with `in` or `get` for both keys.",
        ],
        """\
def tokens_per_second(answer):
    if "eval_count" not in answer or "eval_duration" not in answer:
        return None
    return answer["eval_count"] / answer["eval_duration"] * 1e9
""",
        """\
def tokens_per_second(answer):
    count = answer.get("eval_count")
    nanoseconds = answer.get("eval_duration")
    if count and nanoseconds:
        return count / (nanoseconds / 1e9)
""",
        [
            Attempt('return answer["eval_count"] / answer["eval_duration"]', "1,000,000,000 times"),
            Attempt(
                'return answer["eval_count"] / answer["eval_duration"] * 1e6', "1,000 times too sm"
            ),
            Attempt(
                'return answer["eval_duration"] / answer["eval_count"] / 1e9',
                "Which of the two numbers do you divide",
            ),
            Attempt(
                "return answer['eval_count'] / "
                "answer.get('total_duration', answer['eval_duration']) * 1e9",
                "Which duration is the time for writing",
            ),
            Attempt(
                'return answer["eval_count"] / answer["total_duration"] * 1e9',
                "Which of the two numbers",
            ),
            Attempt(
                'return round(answer["eval_count"] / answer["eval_duration"] * 1e9, 2)',
                "Do you round the number",
            ),
            Attempt(
                'return int(answer["eval_count"] / answer["eval_duration"] * 1e9)',
                "Do you round the number",
            ),
            Attempt(
                'return str(answer["eval_count"] / answer["eval_duration"] * 1e9)',
                "number or a text",
            ),
            Attempt(
                'return answer["eval_count"] / answer["eval_duration"] * 1e9',
                "has no eval_duration",
            ),
            Attempt(
                'return answer.get("eval_count", 0) / answer.get("eval_duration", 1e99) * 1e9',
                "has no eval_duration",
            ),
            Attempt(
                """
                if "eval_duration" in answer:
                    return answer.get("eval_count", 0) / answer["eval_duration"] * 1e9
                """,
                "has no eval_count",
            ),
            Attempt(
                'print(answer["eval_count"] / answer["eval_duration"] * 1e9)',
                "Does the function also give it back",
            ),
        ],
    ),
    "join_fragments": Solution(
        [
            "Start with an empty string, and go through the records in a loop.",
            "Does the record have the key error? Raise it, as in the cell above.",
            "If not, add its fragment to the text, whether it is done or not. Return after the "
            "loop.",
        ],
        """\
def join_fragments(answers):
    text = ""
    for answer in answers:
        if "error" in answer:
            raise ValueError(answer["error"])
        text += answer["response"]
    return text
""",
        """\
def join_fragments(answers):
    for answer in answers:
        if "error" in answer:
            raise ValueError(answer["error"])
    return "".join(answer["response"] for answer in answers)
""",
        [
            Attempt('return " ".join(a["response"] for a in answers)', "between the two fragments"),
            Attempt('return [a["response"] for a in answers]', "How do you make one text of them"),
            Attempt('return "".join(a["response"].strip() for a in answers)', "Which spaces"),
            Attempt(
                'return "".join(a["response"] for a in answers if not a["done"])',
                "does it have text",
            ),
            Attempt('return "".join(a["response"] for a in answers)', "Which key does it have"),
            Attempt(
                'return "".join(a.get("response", "") for a in answers)', "Which key does it have"
            ),
            Attempt(
                'for answer in answers:\n    return answer["response"]',
                "Where is your `return`: inside the loop",
            ),
            Attempt(
                'text = ""\nfor a in answers:\n    text += a["response"]\n    return text',
                "Where is your `return`: inside the loop",
            ),
            Attempt(
                'for answer in answers:\n    text = answer["response"]\nreturn text',
                "Where do you collect the items",
            ),
            Attempt(
                'for answer in answers:\n    print(answer["response"], end="")',
                "Does the function also give it back",
            ),
            Attempt(
                'text = ""\nfor answer in answers:\n    text += answer["response"]',
                "Does it start with `return`",
            ),
            Attempt(
                'text = ""\nwhile answers:\n    text += answers.pop(0)["response"]\nreturn text',
                "changes the value that it was given",
            ),
            Attempt('return answers["response"]', "What is in this list"),
            Attempt('return "".join(json.loads(a)["response"] for a in answers)', "name json"),
            Attempt('return "".join(response for answer in answers)', "the name response"),
            Attempt(
                """
                text = ""
                for answer in answers:
                    if "error" in answer:
                        return answer["error"]
                    text += answer["response"]
                return text
                """,
                "takes it for the answer",
            ),
            Attempt(
                """
                text = ""
                for answer in answers:
                    if "error" in answer:
                        return ValueError(answer["error"])
                    text += answer["response"]
                return text
                """,
                "Which word stops the function",
            ),
            Attempt(
                """
                text = ""
                for answer in answers:
                    if "error" in answer:
                        print(answer["error"])
                    else:
                        text += answer["response"]
                return text
                """,
                "A person can read what you print",
            ),
        ],
    ),
    "time_to_first_token": Solution(
        [
            "`for seconds, json_line in arrivals:` takes each pair apart.",
            "Empty bytes and an empty string are false in an `if`. Leave out blank lines first.",
            'json.loads(json_line).get("response") is the text, or None. Is there text? Return '
            "the seconds at once. After the loop, return None.",
        ],
        """\
import json

def time_to_first_token(arrivals):
    for seconds, json_line in arrivals:
        if json_line and json.loads(json_line).get("response"):
            return seconds
    return None
""",
        "",
        [
            Attempt("return arrivals[0][0]", "Is this already text"),
            Attempt("return arrivals[-1][0]", "Which pair is the first one"),
            Attempt("return 1000 * arrivals[0][0]", "1,000 times too big"),
            Attempt(
                """
                for seconds, line in arrivals:
                    if line["response"]:
                        return seconds
                """,
                "Is the line a dictionary already",
            ),
            Attempt(
                """
                for pair in arrivals:
                    if json.loads(pair)["response"]:
                        return pair[0]
                """,
                "How do you take a pair apart",
            ),
            Attempt(
                """
                for seconds, json_line in arrivals:
                    if json.loads(json_line)["response"]:
                        return seconds
                    else:
                        return None
                """,
                "Does your loop end at the first pair",
            ),
            Attempt(
                """
                for seconds, json_line in arrivals:
                    if json.loads(json_line)["response"]:
                        print(seconds)
                """,
                "Does the function also give it back",
            ),
            Attempt(
                """
                for seconds, json_line in arrivals:
                    if json.loads(json_line)["response"]:
                        return seconds
                return 0
                """,
                "No pairs were given",
            ),
            Attempt(
                """
                if not arrivals:
                    return None
                for seconds, json_line in arrivals:
                    if json.loads(json_line)["response"]:
                        return seconds
                return seconds
                """,
                "No record has text here",
            ),
            Attempt(
                """
                for seconds, json_line in arrivals:
                    answer = json.loads(json_line)
                    if answer["response"] and not answer["done"]:
                        return seconds
                """,
                "It is done; does it have text",
            ),
            Attempt(
                """
                for seconds, json_line in arrivals:
                    if json.loads(json_line)["response"]:
                        return seconds
                """,
                "What does json.loads do with an empty line",
            ),
            Attempt(
                """
                for seconds, json_line in arrivals:
                    if json_line and json.loads(json_line)["response"]:
                        return seconds
                """,
                "a key that may be missing",
            ),
            Attempt(
                """
                for seconds, json_line in arrivals:
                    answer = json.loads(json_line or "{}")
                    if answer.get("response") or answer.get("thinking"):
                        return seconds
                """,
                "Which key has the answer's text",
            ),
        ],
    ),
    "conversation": Solution(
        [
            "`enumerate(texts)` gives each text with its place: 0, 1, 2, ...",
            "Place 0 is the system's. Odd places are the user's, even ones the assistant's.",
            "`place % 2` is 1 where the place is odd.",
        ],
        """\
def conversation(texts):
    messages = []
    for place, text in enumerate(texts):
        if place == 0:
            role = "system"
        elif place % 2 == 1:
            role = "user"
        else:
            role = "assistant"
        messages.append({"role": role, "content": text})
    return messages
""",
        """\
def conversation(texts):
    roles = ["system"] + ["user", "assistant"] * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts)]
""",
        [
            Attempt("return [{role: user, content: text} for text in texts]", "the name role"),
            Attempt(
                'return [{"role": "user", "content": text} for text in texts]',
                "Who says the first text, and who says the second",
            ),
            Attempt(
                """
                messages = [{"role": "system", "content": texts[0]}]
                for text in texts[1:]:
                    messages.append({"role": "user", "content": text})
                return messages
                """,
                "Who says the third text",
            ),
            Attempt(
                """
                for text in texts:
                    return [{"role": "system", "content": text}]
                """,
                "Where is your `return`: inside the loop",
            ),
            Attempt(
                """
                roles = ["system", "user", "assistant", "user"]
                return [{"role": role, "content": text} for role, text in zip(roles, texts)]
                """,
                "how many messages did you return",
            ),
            Attempt(
                """
                roles = ["system"] + ["user", "assistant"] * len(texts)
                texts = [text for text in texts if text]
                return [{"role": role, "content": text} for role, text in zip(roles, texts)]
                """,
                "how many messages did you return",
            ),
            Attempt(
                """
                messages = []
                for text in texts:
                    place = texts.index(text)
                    role = "user" if place % 2 else "assistant"
                    messages.append({"role": role if place else "system", "content": text})
                return messages
                """,
                "Do you look at its place",
            ),
            Attempt(
                """
                messages = [{"role": "system", "content": texts[0]}]
                for place, text in enumerate(texts[1:]):
                    role = "assistant" if place % 2 else "user"
                    messages.append({"role": role, "content": text})
                return messages
                """,
                "No texts were given",
            ),
            Attempt(
                """
                messages = [{"role": "system", "content": texts.pop(0)}]
                for place, text in enumerate(texts):
                    role = "assistant" if place % 2 else "user"
                    messages.append({"role": role, "content": text})
                return messages
                """,
                "changes the value that it was given",
            ),
        ],
    ),
    "survive": Solution(
        [
            "Start with an empty text. Put `try` around the `for` loop: the connection breaks "
            "where the loop asks for the next line.",
            "Return `text, True` at the record that is done. After the loop, return `text, False`.",
            "Catch requests.RequestException, ValueError, KeyError and TypeError, and return "
            "`text, False` there, too.",
        ],
        """\
import json

import requests

def survive(lines):
    text = ""
    try:
        for json_line in lines:
            answer = json.loads(json_line)
            text += answer["response"]
            if answer["done"]:
                return text, True
    except (requests.RequestException, ValueError, KeyError, TypeError):
        pass
    return text, False
""",
        "",
        [
            Attempt(
                'return "".join(json.loads(line)["response"] for line in lines)', "A pair has two"
            ),
            Attempt(
                "for line in lines:\n    answer = json.loads(line)\n"
                '    return answer["response"], answer["done"]',
                "Where is your `return`: inside the loop",
            ),
            Attempt(
                """
                text = ""
                for line in lines:
                    answer = json.loads(line)
                    if answer["done"]:
                        return text, True
                    text += answer["response"]
                """,
                "does it have text",
            ),
            Attempt(
                'return "".join(json.loads(line)["response"] for line in lines), True',
                "Was there a record with done: true",
            ),
            Attempt(
                """
                text = ""
                for line in lines:
                    answer = json.loads(line)
                    text += answer["response"]
                return text, answer["done"]
                """,
                "What is the text, and is it complete",
            ),
            Attempt(
                """
                text = ""
                for line in lines:
                    answer = json.loads(line)
                    text += answer["response"]
                    if answer["done"]:
                        return text, True
                return text, False
                """,
                "The second record is an error",
            ),
            Attempt(
                """
                text = ""
                for line in lines:
                    try:
                        answer = json.loads(line)
                        text += answer["response"]
                    except KeyError:
                        return text, False
                    if answer["done"]:
                        return text, True
                return text, False
                """,
                "Where is your `try`",
            ),
            Attempt(
                """
                text = ""
                try:
                    for line in lines:
                        answer = json.loads(line)
                        text += answer["response"]
                        if answer["done"]:
                            return text, True
                except (requests.RequestException, KeyError):
                    pass
                return text, False
                """,
                "The second line is not JSON",
            ),
            Attempt(
                """
                text = ""
                try:
                    for line in lines:
                        answer = json.loads(line)
                        text += answer["response"]
                        if answer["done"]:
                            return text, True
                except (requests.RequestException, ValueError, KeyError):
                    pass
                return text, False
                """,
                "not a dictionary",
            ),
            Attempt(
                """
                text = ""
                try:
                    for line in lines:
                        answer = json.loads(line)
                        if "error" in answer:
                            return text, False
                        text += answer["response"]
                        if answer["done"]:
                            return text, True
                except (requests.RequestException, ValueError, TypeError):
                    pass
                return text, False
                """,
                "This record is a dictionary. Which key",
            ),
        ],
    ),
    "seconds_for_500": Solution(
        [
            "One token takes eval_duration / eval_count nanoseconds.",
            "The model is loaded once, and the prompt is read once, however long the answer is.",
            "Ask first with `in` for the two keys that you divide. Read the other two with `get`.",
        ],
        """\
def seconds_for_500(last):
    if "eval_count" not in last or "eval_duration" not in last:
        return None
    once = last.get("load_duration", 0) + last.get("prompt_eval_duration", 0)
    one_token = last["eval_duration"] / last["eval_count"]
    return (once + 500 * one_token) / 1e9
""",
        "",
        [
            Attempt(
                'return 500 * last["total_duration"] / last["eval_count"] / 1e9',
                "The total has more in it",
            ),
            Attempt(
                'return 500 * last["eval_duration"] / last["eval_count"] / 1e9',
                "Which of the three parts happen once",
            ),
            Attempt(
                """
                once = last["load_duration"] + last["prompt_eval_duration"]
                return once + 500 * last["eval_duration"] / last["eval_count"]
                """,
                "1,000,000,000 times too big",
            ),
            Attempt(
                """
                once = last["load_duration"] + last["prompt_eval_duration"]
                return (once + 500 * last["eval_duration"] / last["eval_count"]) / 1e6
                """,
                "1,000 times too big",
            ),
            Attempt(
                """
                once = last["load_duration"] + last["prompt_eval_duration"]
                return round((once + 500 * last["eval_duration"] / last["eval_count"]) / 1e9, 1)
                """,
                "Do you round the number",
            ),
            Attempt(
                """
                once = last["total_duration"] - last["eval_duration"]
                return (once + 500 * last["eval_duration"] / last["eval_count"]) / 1e9
                """,
                "Are they all of the total",
            ),
            Attempt(
                """
                once = last["load_duration"] + last["prompt_eval_duration"]
                return (once + 500 * last["eval_duration"] / last["eval_count"]) / 1e9
                """,
                "a load_duration that is missing",
            ),
            Attempt(
                """
                once = last.get("load_duration", 0) + last["prompt_eval_duration"]
                return (once + 500 * last["eval_duration"] / last["eval_count"]) / 1e9
                """,
                "no time for the prompt",
            ),
            Attempt(
                """
                once = last.get("load_duration", 0) + last.get("prompt_eval_duration", 0)
                return (once + 500 * last["eval_duration"] / last["eval_count"]) / 1e9
                """,
                "No token was written",
            ),
            Attempt(
                """
                if "eval_count" not in last:
                    return None
                once = last.get("load_duration", 0) + last.get("prompt_eval_duration", 0)
                return (once + 500 * last["eval_duration"] / last["eval_count"]) / 1e9
                """,
                "There is no eval_duration here",
            ),
        ],
    ),
    "ask_script": Solution(
        [
            "Everything in it is from chapters 01 to 04: post, lines, json.loads, print.",
            "What you type after the script's name is in sys.argv. sys.argv[0] is the name of the "
            "script itself, sys.argv[1] is the prompt.",
            'The loop prints the key "response" of each record. end="" prints no newline.',
        ],
        ASK_SCRIPT,
        _changed(
            ASK_SCRIPT,
            (
                "for json_line in response.iter_lines():\n"
                "    answer = json.loads(json_line)\n"
                '    print(answer["response"], end="")\n'
                "print()\n",
                "answers = [json.loads(json_line) for json_line in response.iter_lines()]\n"
                'print("".join(answer["response"] for answer in answers))\n',
            ),
        ),
        [
            Attempt(_changed(ASK_SCRIPT, ("sys.argv[1]", '"Who?"')), "Where does your script read"),
            Attempt(_changed(ASK_SCRIPT, ("sys.argv[1]", "sys.argv[0]")), "Follow the prompt"),
            Attempt(_changed(ASK_SCRIPT, (', end=""', "")), "Do you print every fragment"),
            Attempt(_changed(ASK_SCRIPT, ("import sys\n", "")), "does not know the name sys"),
            Attempt(_changed(ASK_SCRIPT, ("sys.argv[1]", "sys.argv[1")), "cannot read your script"),
            Attempt(
                _changed(ASK_SCRIPT, ('os.environ["OLLAMA_HOST"]', '"http://127.0.0.1:9"')),
                "Where does your script take its address from",
            ),
            Attempt(
                _changed(ASK_SCRIPT, ("json=json_data", "data=json_data")), "Follow the prompt"
            ),
        ],
    ),
    "model_option": Solution(
        [
            'With `--model`, len(sys.argv) is 4: sys.argv[1] is "--model", sys.argv[2] the name, '
            "sys.argv[3] the prompt.",
            'Without it, len(sys.argv) is 2, as before, and the model is "mistral". All else is a '
            "wrong usage: `if`, `elif`, `else`.",
            "Put the name and the prompt into two variables, and put these into the request.",
        ],
        MODEL_OPTION,
        _changed(
            MODEL_OPTION,
            ("import json\nimport os\nimport sys\n", "import argparse\nimport json\nimport os\n"),
            (
                MODEL_OPTION[MODEL_OPTION.index("if len") : MODEL_OPTION.index("json_data")],
                "parser = argparse.ArgumentParser()  # it reads options, and says how to use them\n"
                'parser.add_argument("--model", default="mistral")\n'
                'parser.add_argument("prompt")\n'
                "arguments = parser.parse_args()\n\n",
            ),
            ('{"model": model, "prompt": prompt}', '{"model": arguments.model}'),
            (
                "response = requests",
                'json_data["prompt"] = arguments.prompt\nresponse = requests',
            ),
        ),
        [
            Attempt(
                _changed(MODEL_OPTION, ('"model": model', '"model": "mistral"')),
                "Which name did you type",
            ),
            Attempt(
                _changed(MODEL_OPTION, ('prompt = "mistral"', 'prompt = "tiny"')), "Follow the"
            ),
            Attempt(_changed(MODEL_OPTION, ("== 4", "== 3")), "How long is sys.argv with --model"),
            Attempt(
                _changed(MODEL_OPTION, ("sys.argv[2], sys.argv[3]", 'sys.argv[2], "Who?"')),
                "another prompt",
            ),
        ],
    ),
    "exit_code": Solution(
        [
            "sys.exit(NUMBER) ends the script with this exit code. At the end of a script the exit "
            "code is 0 by itself.",
            "Check len(sys.argv) before you ask. While you read, look for the key error.",
            "Put `try` around the request and the loop. After the loop, the last record must be "
            "done.",
        ],
        EXIT_CODE,
        "",
        [
            Attempt(
                _changed(EXIT_CODE, ("print()\n", "print()\nsys.exit(1)\n")), "complete. Which"
            ),
            Attempt(_changed(EXIT_CODE, ("sys.exit(2)", "sys.exit(1)")), "No prompt was typed"),
            Attempt(_changed(EXIT_CODE, ("!= 2", "> 2")), "No prompt was typed"),
            Attempt(
                _changed(
                    EXIT_CODE,
                    (
                        "    print('How to use it: python my_script.py \"your prompt\"', "
                        "file=sys.stderr)\n",
                        "",
                    ),
                ),
                "What does a user see",
            ),
            Attempt(
                _changed(EXIT_CODE, ("your prompt\"', file=sys.stderr", "your prompt\"'")),
                "On which one is your sentence",
            ),
            Attempt(
                _changed(EXIT_CODE, ('answer["error"], file=sys.stderr', 'answer["error"]')),
                "On which one is your sentence",
            ),
            Attempt(
                _changed(
                    EXIT_CODE,
                    (
                        "file=sys.stderr)\n            sys.exit(1)",
                        "file=sys.stderr)\n            sys.exit(0)",
                    ),
                ),
                "What does your script do with this record",
            ),
            Attempt(
                _changed(EXIT_CODE, ('if "error" in answer', 'if "trouble" in answer')),
                "What does your script do with this record",
            ),
            Attempt(
                _changed(EXIT_CODE, ("except requests.RequestException", "except ValueError")),
                "The server closed the connection",
            ),
            Attempt(_changed(EXIT_CODE, ('not answer.get("done")', "False")), "but the last one"),
        ],
    ),
    "chat_script": Solution(
        [
            "Keep one list, messages. For each line: append the user's message, post the list to "
            "/api/chat, print the fragments, append the assistant's message.",
            'The fragment of a chat is answer["message"]["content"]. Use stream=True, '
            "timeout=(5, 330) and flush=True.",
            "Put `try` around the request and its loop. Look for the key error, and for a record "
            "that is done. Print one sentence if something went wrong, and go on with the loop.",
        ],
        CHAT_SCRIPT,
        "",
        [
            Attempt(
                _changed(CHAT_SCRIPT, ("for line in sys.stdin:", "for line in [input()]:")),
                "until there are no more lines",
            ),
            Attempt(
                _changed(
                    CHAT_SCRIPT,
                    ("for line in sys.stdin:\n", "while True:\n    line = input()\n"),
                ),
                "until there are no more lines",
            ),
            Attempt(
                _changed(CHAT_SCRIPT, ("/api/chat", "/api/generate")), "post each line to /api/chat"
            ),
            Attempt(
                _changed(
                    CHAT_SCRIPT, ("ask(messages)\n    print()", "ask(messages[-1:])\n    print()")
                ),
                "What is in `messages` of the second request",
            ),
            Attempt(
                _changed(CHAT_SCRIPT, ('"role": "assistant"', '"role": "user"')), "Who said what"
            ),
            Attempt(
                _changed(CHAT_SCRIPT, ("text += fragment", "text = fragment")), "Who said what"
            ),
            Attempt(_changed(CHAT_SCRIPT, (", stream=True", "")), "at once, or when all have come"),
            Attempt(_changed(CHAT_SCRIPT, (", flush=True", "")), "at once, or when all have come"),
            Attempt(
                _changed(CHAT_SCRIPT, ("requests.RequestException, ", "")),
                "The connection was closed",
            ),
            Attempt(
                _changed(CHAT_SCRIPT, ('if "error" in answer', "if False"), (", KeyError", "")),
                "The status is 503",
            ),
            Attempt(
                _changed(
                    CHAT_SCRIPT,
                    (
                        '            if "error" in answer:\n'
                        "                return text, f\"The server says: {answer['error']}\"\n",
                        "",
                    ),
                    ("        response = ", "        answer = {}\n        response = "),
                    (
                        "ValueError, TypeError, KeyError):\n",
                        "ValueError, TypeError, KeyError):\n"
                        "        if text:\n            return text, ''\n",
                    ),
                ),
                "The last record is an error",
            ),
            Attempt(
                _changed(
                    CHAT_SCRIPT,
                    ("except (requests.RequestException,", "except (requests.ConnectionError,"),
                ),
                "The connection broke in the middle",
            ),
            Attempt(
                _changed(
                    CHAT_SCRIPT,
                    ('"The answer is not complete. Please ask again."', '""'),
                ),
                "but no record came",
            ),
            Attempt(
                _changed(
                    CHAT_SCRIPT,
                    (
                        'return text, "The answer is not complete. Please ask again."',
                        'return text, "" if text else "The answer is not complete."',
                    ),
                ),
                "but no record was done",
            ),
            Attempt(
                _changed(CHAT_SCRIPT, (" ValueError, TypeError,", "")), "not JSON. Which error"
            ),
            Attempt(
                _changed(
                    CHAT_SCRIPT,
                    (
                        "            answer = json.loads(json_line)\n",
                        "            try:\n                answer = json.loads(json_line)\n"
                        "            except ValueError:\n                continue\n",
                    ),
                ),
                "One line is not JSON",
            ),
            Attempt(_changed(CHAT_SCRIPT, (", timeout=(5, 330)", "")), "How long does your script"),
        ],
    ),
}
