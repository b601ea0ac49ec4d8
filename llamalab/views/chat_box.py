"""The chat box: a small chat on the server found, which streams, stops, and survives errors."""

from __future__ import annotations

import threading
import time
from typing import Any

from llamalab import client
from llamalab.diagnosis import silence
from llamalab.errors import LlamalabError
from llamalab.views import base
from llamalab.views.hang_up import ClosableSession
from llamalab.wire import fragment_of, tokens_per_second

PAUSE = 0.06  # seconds between two updates of the page: as fast as an eye can read
TURNS = 30  # shown of a long conversation
LONG = 3000  # characters shown of a long text: its end


def chat_box(model: str = client.MODEL, server: str | None = None) -> ChatBox:
    """A small chat: type, press Enter, read the answer as it comes; Stop really stops the model.

    `server` is the one found if None. `.ask("...")`, `.stop()` and `.wait()` do from code what the
    buttons do; `.messages` is the conversation as it is posted. What goes wrong is said in the
    box, and the next question works again.

    >>> chat_box()
    Chat with mistral. Nothing has been said yet: type a question, or call .ask("...").
    """
    return ChatBox(model, server)


class ChatBox(base.View):
    """The view of `chat_box`. Its answers are read by a thread each, which ends with the answer."""

    def __init__(self, model: str = client.MODEL, server: str | None = None):
        self.model, self.server = model, server
        self.system = ""  # the system prompt; "" for none
        self.turns: list[tuple[str, str]] = []  # who said what, as it is shown
        self.trouble = ""  # what went wrong last
        self.status = ""
        self._said: list[dict] = []
        self._now: _Question | None = None  # on its way
        self._lock = threading.RLock()
        self._page: _Page | None = None

    @property
    def messages(self) -> list[dict]:
        """The conversation as it is posted, the system prompt first."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + list(self._said)

    def ask(self, text: str) -> None:
        """Ask, and return at once; the answer comes in the background (`wait()` waits for it)."""
        with self._lock:
            if not text.strip():
                return
            if self._now:
                self.trouble = "An answer is on its way: stop it first."
            else:
                self.trouble, self.status = "", "Asked; nothing has come yet …"
                self._said.append({"role": "user", "content": text})
                self.turns.append(("you", text))
                self._now = _Question(self.messages, self.model)
                threading.Thread(target=self._read, args=[self._now], daemon=True).start()
        self._show()

    def stop(self) -> None:
        """Stop the answer that is on its way; what has come of it stays."""
        with self._lock:
            question = self._now
            self._end(question, status="Stopped.")
        if question:
            question.connection.hang_up()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of the answer that is on its way, `timeout` seconds at most."""
        if question := self._now:
            question.ended.wait(timeout)

    def clear(self) -> None:
        """Begin a new conversation."""
        self.stop()
        with self._lock:
            self._said, self.turns, self.trouble, self.status = [], [], "", ""
        self._show()

    def _read(self, question: _Question) -> None:
        """Read an answer to its end (a thread's work); whatever happens ends in a sentence."""
        try:
            with question.connection.session as session:
                asked = {"model": question.model, "messages": question.messages}
                response = client.post("/api/chat", asked, self.server, session)
                for record in client.records(response):
                    question.take(record)
                    self._progress(question)
            self._end(question, status=question.summary(record))
        except LlamalabError as error:
            self._end(question, trouble=str(error))
        except Exception as error:  # a thread that dies in silence would leave a dead box
            self._end(question, trouble=f"The answer cannot be read: {error}")

    def _progress(self, question: _Question) -> None:
        with self._lock:  # else a Stop between the two lines would be written over
            if question is self._now and time.monotonic() - question.shown > PAUSE:
                question.shown = time.monotonic()
                self.status = question.pace()
                self._show()

    def _end(self, question: _Question | None, status: str = "", trouble: str = "") -> None:
        """Keep what has come, unless the question has ended before."""
        with self._lock:
            if question is None or question is not self._now:
                return
            self._now, self.status, self.trouble = None, status, trouble
            if question.text:
                self._said.append({"role": "assistant", "content": question.text})
                self.turns.append((question.model, question.text))
            else:
                self._said.pop()  # an unanswered question is not part of the conversation
        question.ended.set()
        self._show()

    def text(self) -> str:
        if not self.turns:
            said = f"Chat with {self.model}. Nothing has been said yet: "
            return said + 'type a question, or call .ask("...").'
        with self._lock:
            lines = [f"{who}: {text}" for who, text in self.turns]
            lines += [f"{self._now.model}: {self._now.text} …"] if self._now else []
        return "\n".join([*lines, *([self.trouble] if self.trouble else [])])

    def build(self) -> Any:
        self._page = _Page(self)
        self._show()
        threading.Thread(target=self._look_for_models, daemon=True).start()
        return self._page.widget

    def _look_for_models(self) -> None:
        """Fill the list of models: a thread's work, since a server may take its time."""
        try:
            self._page.offer(client.models(self.server))
        except Exception as error:  # said in the box, like every trouble
            with self._lock:
                self.trouble = self.trouble or str(error)
            self._show()

    def _show(self) -> None:
        if self._page:
            with self._lock:
                self._page.show()


class _Question:
    """A question on its way: what was asked, and what has come."""

    def __init__(self, messages: list[dict], model: str):
        self.messages, self.model = messages, model
        self.text = ""
        self.records: list[dict] = []
        self.connection = ClosableSession()
        self.ended = threading.Event()
        self.began = self.shown = 0.0  # when the first record came, when it was shown last

    def take(self, record: dict) -> None:
        self.began = self.began or time.monotonic()
        self.records.append(record)
        self.model = record.get("model") or self.model  # who answers, which may be another one
        self.text += fragment_of(record)

    def pace(self) -> str:
        """How fast it comes, as seen from here; the last record will say it better."""
        passed = time.monotonic() - self.began
        count = len(self.records)
        said = f"{count:,} fragments"
        if not self.text:
            said = "Thinking, or silent: no text yet"
        return f"{said}, {count / passed:.0f} per second" if passed > 0.5 else said

    def summary(self, last: dict) -> str:
        if not self.text:
            return silence(self.records) or "The model calls a tool, and says nothing."
        said = "The answer is whole"
        if last.get("done_reason") == "length":
            said = "The model has used up its tokens, and stops here"
        speed, count = tokens_per_second(last), last.get("eval_count")
        if speed is None:
            return f"{said}. The server does not say how fast it was."
        return f"{said}: {count:,} tokens, {speed:.1f} tokens/s."


class _Page:
    """The widgets of a chat box."""

    def __init__(self, box: ChatBox):
        import ipywidgets

        wide, style = {"width": "auto", "flex": "1 1 260px"}, {"description_width": "110px"}
        field = {"layout": wide, "style": style, "continuous_update": True}
        self.box = box
        self.models = ipywidgets.Dropdown(
            options=[box.model], value=box.model, description="Model", layout=wide, style=style
        )
        self.system = ipywidgets.Text(
            box.system, description="System prompt", placeholder="Who is the model?", **field
        )
        self.question = ipywidgets.Text(
            description="Question", placeholder="Type and press Enter", **field
        )
        self.past, self.now, self.status = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()
        self.send = ipywidgets.Button(description="Send", button_style="primary")
        self.stop = ipywidgets.Button(description="■ Stop", disabled=True)
        self.new = ipywidgets.Button(description="New chat")
        self._wire()
        self.widget = self._laid_out()

    def _wire(self) -> None:
        box = self.box
        self.models.observe(lambda change: setattr(box, "model", change["new"]), "value")
        self.system.observe(lambda change: setattr(box, "system", change["new"]), "value")
        self.question.on_msg(lambda _, content, __: self._entered(content))
        self.send.on_click(lambda _: self._ask())
        self.stop.on_click(lambda _: box.stop())
        self.new.on_click(lambda _: box.clear())

    def _laid_out(self) -> Any:
        import ipywidgets

        row = {"flex_flow": "row wrap", "width": "100%"}
        for button in (self.send, self.stop, self.new):
            button.layout = {"width": "100px"}
        talk = ipywidgets.VBox(
            [self.past, self.now], layout={"flex": "none", "overflow": "visible"}
        )
        scroll = {"max_height": "420px", "overflow": "auto", "flex_flow": "column-reverse"}
        return base.column(
            ipywidgets.Box([self.models, self.system], layout=row),
            ipywidgets.Box([talk], layout={**scroll, "width": "100%"}),  # scrolled to its end
            self.status,
            ipywidgets.Box([self.question, self.send, self.stop, self.new], layout=row),
        )

    def _entered(self, content: dict) -> None:
        if content.get("event") == "submit":
            self._ask()

    def _ask(self) -> None:
        if not self.box._now:
            text, self.question.value = self.question.value, ""
            self.box.ask(text)

    def offer(self, names: list[str]) -> None:
        """Put the server's models into the list; the one chosen stays chosen."""
        chosen = self.box.model
        others = [name for name in names if name not in (chosen, f"{chosen}:latest")]
        self.models.options = [chosen, *others]
        self.models.value = chosen

    def show(self) -> None:
        """Bring the page up to date."""
        box, now = self.box, self.box._now
        turns = "".join(_turn(*turn) for turn in box.turns[-TURNS:])
        _put(self.past, f'<div class="ll" role="log" aria-label="Conversation">{turns}</div>')
        current = _turn(now.model, now.text) if now and now.text else ""
        _put(self.now, base.framed(current, label="The answer that is coming"))
        trouble = f'<p class="ll-trouble">⚠ {base.escape(box.trouble)}</p>' if box.trouble else ""
        status = f'<p class="ll-status">{base.escape(box.status)}</p>'
        _put(self.status, f'<div class="ll" role="status">{trouble or status}</div>')
        self.send.disabled, self.stop.disabled = bool(now), not now


def _put(page: Any, value: str) -> None:
    if page.value != value:  # nothing is sent for what has not changed
        page.value = value


def _turn(who: str, text: str) -> str:
    shown = ("… " if len(text) > LONG else "") + base.escape(text[-LONG:])
    you = " ll-you" if who == "you" else ""
    return f'<div class="ll-says{you}"><b>{base.escape(who)}</b>{shown}</div>'
