"""The students of a class and their keys, kept in a private file that a spreadsheet can read."""

import csv
import io
import re
import secrets
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from llamalab import keys
from llamalab.classroom.share.names import same
from llamalab.errors import LlamalabError

FILE = "students.csv"
FIELDS = ["name", "login", "key"]

# Easy to type and to read on paper: small letters and digits, none that look alike (l and 1, o
# and 0), no vowels, so no words. Twelve of them are 57 bits. All are safe in an address.
LETTERS = "bcdfghjkmnpqrstvwxz23456789"
GROUPS, GROUP = 3, 4


class Student(NamedTuple):
    """`login` is the user in the address; `key` is "" after it was taken back."""

    name: str
    login: str
    key: str


def new_key() -> str:
    """A key such as "k7mq-x3vb-p9dt"."""
    groups = ("".join(secrets.choice(LETTERS) for _ in range(GROUP)) for _ in range(GROUPS))
    return "-".join(groups)


def with_new(students: list[Student], names: Iterable[str]) -> list[Student]:
    """The same students, and after them those of `names` that are not there yet, with keys.

    >>> [student.login for student in with_new([], ["Ada Lovelace", "Zoë", "Ada Byron", "李"])]
    ['ada', 'zoe', 'ada-byron', 'student']
    """
    students = list(students)
    known = {same(student.name) for student in students}
    for name in names:
        if same(name) not in known:
            known.add(same(name))
            login = free_login(name, {student.login for student in students})
            students.append(Student(name, login, new_key()))
    return students


def free_login(name: str, taken: set[str]) -> str:
    """A short name in plain letters, for the address: the first name if it is still free."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    words = re.findall("[a-z0-9]+", plain) or ["student"]
    if words[0] == "student" and words[1:]:
        words = ["".join(words)]  # "Student 7" is student7
    options = [words[0][:20], "-".join(words)[:20].strip("-")]
    options += [f"{options[0]}{number}" for number in range(2, len(taken) + 3)]
    return next(option for option in options if option not in taken)


def find(students: list[Student], asked: str) -> Student:
    """The student with this name, else with this login. Raises `LlamalabError` where none has it.

    Names go first: "Ada" is the student of that name, even if another student has the login `ada`.
    """
    by_name = [student for student in students if same(student.name) == same(asked)]
    by_login = [student for student in students if student.login == same(asked)]
    for student in by_name or by_login:
        return student
    raise LlamalabError(
        f"There is no student {asked!r} in this class.",
        do=f"use a name or a login from {FILE}",
    )


def withdrawn(students: list[Student], asked: str) -> list[Student]:
    """The students after the key of one of them was taken back."""
    gone = find(students, asked)
    return [student._replace(key="") if student is gone else student for student in students]


def given_again(students: list[Student], asked: str) -> list[Student]:
    """The students after one of them was added: someone new, or someone with no key any more."""
    students = with_new(students, [asked])
    back = find(students, asked)
    return [
        student._replace(key=student.key or new_key()) if student is back else student
        for student in students
    ]


def load(folder: Path) -> list[Student]:
    """The students that a folder has; none where it is not a class's folder yet."""
    file = folder / FILE
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise LlamalabError(f"The keys in {file} cannot be read.", why=str(error)) from None
    separator = ";" if text.startswith("name;") else ","
    students = []
    for row in csv.DictReader(io.StringIO(text), delimiter=separator):
        student = Student(*((row.get(field) or "").strip() for field in FIELDS))
        if not (
            student.name
            and re.fullmatch("[a-z0-9-]+", student.login)
            and re.fullmatch("[A-Za-z0-9._~-]*", student.key)
        ):
            raise LlamalabError(
                f"The keys in {file} cannot be read.",
                why=f"{student.name or 'a student'} has no login or key that llamalab has made",
                do=f"correct the line ({','.join(FIELDS)}), or start in a new folder: --out DIR",
            )
        students.append(student)
    if len({student.login for student in students}) < len(students):
        raise LlamalabError(f"Two students have the same login in {file}.", do="change one")
    used = [student.key.lower() for student in students if student.key]
    if len(set(used)) < len(used):  # nginx would not start
        raise LlamalabError(f"Two students have the same key in {file}.", do="remove one key")
    return students


def save(folder: Path, students: list[Student]) -> None:
    """Write the students and their keys, for the owner's eyes only."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([FIELDS, *students])
    keys.write_private(folder / FILE, text.getvalue())
