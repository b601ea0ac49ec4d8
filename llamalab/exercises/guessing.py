"""How a guess is judged: right, or kindly what is right and why."""

from llamalab.exercises.guesses import Guess


def feedback(name: str, guess: Guess, answer: object, data: object = None) -> str:
    """What `check` says about a guess; "?" only gets how to guess.

    >>> guess = Guess("Is it one?", {"a": "yes", "b": "no"}, "b", "It is two.")
    >>> print(feedback("02-one", guess, "a"))
    Not this time. It is b: no.
      It is two.
    """
    if answer is None or answer is ... or str(answer).strip() in ("", "?"):
        return f"{_how(guess)} in place of the question mark, and run the cell again."
    try:
        right = guess.right if data is None or guess.measure is None else guess.measure(data)
    except Exception:  # it may be anything
        return f"The third argument of check is not what {name} needs. Run the cells above again."
    if right is None:
        return f"This guess needs your own data as the third argument of check({name!r}, ..., ...)."
    if guess.choices:
        answer, right = _letter(answer, guess), _letter(right, guess)
        if answer not in guess.choices:
            return f"{_how(guess)}, in quotes."
    elif _number(right) is not None and _number(answer) is None:
        return f"{_how(guess)}, without words."
    shown = f"{right}: {guess.choices[right]}" if guess.choices else f"{right}"
    why = guess.why.replace("{right}", guess.choices.get(right, str(right)))
    verdict = "Right!" if _same(answer, right, guess.near) else "Not this time."
    return f"{verdict} It is {shown}.\n  {why}"


def _how(guess: Guess) -> str:
    if guess.choices:
        *letters, last = guess.choices
        return f"Guess first: write one letter, {', '.join(letters)} or {last}"
    return "Guess first: write a " + ("text" if isinstance(guess.right, str) else "number")


def _letter(answer: object, guess: Guess) -> str:
    """The letter of a choice: from itself, in any case, or from its text."""
    text = str(answer).strip().rstrip(".)").lower()
    texts = {choice.lower(): letter for letter, choice in guess.choices.items()}
    return text if text in guess.choices else texts.get(text, text)


def _number(value: object) -> float | None:
    try:
        return float(str(value).replace(",", "."))
    except ValueError:
        return None


def _same(answer: object, right: object, near: float) -> bool:
    number, exact = _number(answer), _number(right)
    if number is None or exact is None:
        return str(answer).strip().lower() == str(right).strip().lower()
    return abs(number - exact) <= near * abs(exact)
