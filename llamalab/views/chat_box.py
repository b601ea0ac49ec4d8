"""The chat box: a small chat on the server found, which streams, stops, and survives errors."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any, NamedTuple

from llamalab import client
from llamalab.diagnosis import silence
from llamalab.errors import LlamalabError
from llamalab.views import base
from llamalab.wire import fragment_of, tokens_per_second

BEAT = 80  # ms between two updates of the page: as fast as an eye can read
TURNS = 30  # shown of a long conversation
LONG = 3000  # characters shown of a long text: its end


def chat_box(model: str | None = None, server: str | None = None) -> ChatBox:
    """A small chat: type, press Enter, read the answer as it arrives; Stop really stops the model.

    `model` is `mistral` if None, or, where the server has only recordings of it, the first model
    that answers everything; `server` is the one found if None. `.ask("...")` and `.stop()` do
    from code what the buttons do; `.messages` is the conversation as it is posted. The box shows
    what goes wrong, and the next question works again.

    >>> chat_box("tiny")
    Chat with tiny. Nothing has been said yet: type a question, or call .ask("...").
    """
    return ChatBox(model, server)


class Turn(NamedTuple):
    """What was said, as it is shown: by "you" or by a model, and how fast."""

    who: str
    text: str
    note: str = ""


class ChatBox(base.View):
    """The view of `chat_box`.

    An answer is read by a task on the event loop that is running (a kernel's, or a kernel's
    subshell's); where there is none, `ask` waits for the answer. The page shows what has arrived
    whenever the page itself asks for it (see `_Page`), so all messages to it are answers.
    """

    def __init__(self, model: str | None = None, server: str | None = None):
        self.named, self.server = model, server
        self.chosen = model  # None until it is known
        self.system = ""  # the system prompt; "" for none
        self.turns: list[Turn] = []
        self.trouble = ""  # what went wrong last
        self.status = ""
        self._said: list[dict] = []
        self._now: _Question | None = None  # on its way
        self._page: _Page | None = None
        self._offered: list[str] | None = None  # the server's models, once it was asked

    @property
    def messages(self) -> list[dict]:
        """The conversation as it is posted, the system prompt first."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + list(self._said)

    @property
    def model(self) -> str:
        """The model that is asked."""
        if self.chosen is None:
            self._look_for_models()
        return self.chosen

    @model.setter
    def model(self, name: str) -> None:
        self.chosen = name

    def ask(self, text: str) -> None:
        """Ask. In a notebook, the answer arrives after this has returned; elsewhere, before."""
        if self._now and self._now.lost():
            self._end(self._now, trouble="The page was closed before the end of the answer.")
        if not text.strip():
            return
        if self._now:
            self.trouble = "An answer is on its way: stop it first."
            self._show()
            return
        self.trouble, self.status = "", "Asked; nothing has come yet …"
        self._said.append({"role": "user", "content": text})
        self.turns.append(Turn("you", text))
        self._now = question = _Question(self.messages, self.model)
        try:
            question.loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._read(question))
        else:
            question.task = question.loop.create_task(self._read(question))
            self._show()

    def stop(self) -> None:
        """Stop the answer that is on its way; what has come of it stays."""
        if question := self._now:
            self._end(question, note="Stopped.")
            if not question.lost():
                question.loop.call_soon_threadsafe(question.task.cancel)

    def clear(self) -> None:
        """Begin a new conversation."""
        self.stop()
        self._said, self.turns, self.trouble, self.status = [], [], "", ""
        self._show()

    async def _read(self, question: _Question) -> None:
        """Read an answer to its end; whatever happens ends in a sentence."""
        from llamalab.views.live_records import records  # httpx takes its time to import

        try:
            asked = {"model": question.model, "messages": question.messages}
            async with aclosing(records(asked, self.server)) as answer:
                async for record in answer:
                    question.take(record)
            self._end(question, note=question.summary(record))
        except LlamalabError as error:
            self._end(question, trouble=str(error))
        except Exception as error:  # a task that ends in silence would leave a dead box
            self._end(question, trouble=f"The answer cannot be read: {error}")
        except BaseException:  # the task is cancelled, or an interrupt came
            self._end(question, note="Stopped.")
            raise

    def _end(self, question: _Question, note: str = "", trouble: str = "") -> None:
        """Keep what has come, unless the question has ended before."""
        if question is not self._now:
            return
        self._now, self.status, self.trouble = None, "", trouble
        if question.text:
            self._said.append({"role": "assistant", "content": question.text})
            self.turns.append(Turn(question.model, question.text, note))
        else:
            self._said.pop()  # an unanswered question is not part of the conversation
            self.status = note
        self._show()

    def text(self) -> str:
        if not self.turns:
            said = f"Chat with {self.named}. " if self.named else "A chat. "
            return said + 'Nothing has been said yet: type a question, or call .ask("...").'
        lines = [f"{turn.who}: {turn.text}" for turn in self.turns]
        lines += [f"{self._now.model}: {self._now.text} …"] if self._now else []
        return "\n".join([*lines, *([self.trouble] if self.trouble else [])])

    def build(self) -> Any:
        self._look_for_models()
        self._page = _Page(self)
        self._show()
        return self._page.widget

    def _look_for_models(self) -> None:
        """Ask the server for its models, and choose one where none was named."""
        from llamalab.views.live_records import offered

        if self._offered is None:
            models = offered(self.server)
            self._offered = [name for name, _ in models]
            answering = [name for name, recorded in models if not recorded]
            if self.chosen is None:
                ours = not answering or {client.MODEL, f"{client.MODEL}:latest"} & {*answering}
                self.chosen = client.MODEL if ours else answering[0]

    def _show(self) -> None:
        if self._page:
            self._page.show()


class _Question:
    """A question on its way: what was asked, and what has come."""

    def __init__(self, messages: list[dict], model: str):
        self.messages, self.model = messages, model
        self.text = ""
        self.records: list[dict] = []
        self.asked = self.began = time.monotonic()  # began: when the first record came
        self.loop: asyncio.AbstractEventLoop | None = None  # where it is read, by this task
        self.task: asyncio.Task | None = None

    def lost(self) -> bool:
        """Whether nothing reads the answer any more: its loop has ended with the page."""
        return self.loop is None or not self.loop.is_running()

    def take(self, record: dict) -> None:
        if not self.records:
            self.began = time.monotonic()
        self.records.append(record)
        self.model = record.get("model") or self.model  # who answers; it may be a different one
        self.text += fragment_of(record)

    def pace(self) -> str:
        """How fast it comes, as seen from here; the last record will say it better."""
        passed, count = time.monotonic() - self.began, len(self.records)
        if not count:
            return "Asked; nothing has come yet …"
        said = f"{count:,} fragments" if self.text else "Thinking, or silent: no text yet"
        return f"{said}, {count / passed:.0f} per second" if passed > 0.5 else said

    def summary(self, last: dict) -> str:
        if not self.text:
            return silence(self.records) or "The model calls a tool, and says nothing."
        said = []
        if last.get("done_reason") == "length":
            said.append("The model has used up its tokens, and stops here.")
        speed, count = tokens_per_second(last), last.get("eval_count")
        if speed is not None:
            said.append(f"{count:,} tokens, {speed:.1f} tokens/s,")
        return " ".join([*said, f"{time.monotonic() - self.asked:.1f} s"])


class _Page:
    """The widgets of a chat box.

    Two things are the browser's: the text in the field, and the clock. While a question is on
    its way, the clock ticks, and each tick lets the kernel show what has arrived.

    Enter sends an event at once, and the field's text a moment later, if it was edited since it
    was sent last. So the question is asked when the text arrives, or after three ticks without one.
    """

    def __init__(self, box: ChatBox):
        import ipywidgets

        wide, style = {"width": "auto", "flex": "1 1 260px"}, {"description_width": "110px"}
        self.box, self.due = box, 0  # due: how many ticks to wait for the text of a question
        options = [name for name in box._offered if name not in (box.model, f"{box.model}:latest")]
        self.models = ipywidgets.Dropdown(
            options=[box.model, *options],
            value=box.model,
            description="Model",
            layout=wide,
            style=style,
        )
        self.system = ipywidgets.Text(
            box.system,
            description="System prompt",
            placeholder="Who is the model?",
            layout=wide,
            style=style,
        )
        self.question = ipywidgets.Text(
            description="Question",
            placeholder="Type and press Enter",
            continuous_update=False,
            layout=wide,
            style={"description_width": "80px"},
        )
        self.clock = ipywidgets.Play(0, 0, 10**6, interval=BEAT, layout={"display": "none"})
        self.past, self.now, self.status = (ipywidgets.HTML() for _ in range(3))
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
        self.question.observe(lambda _: self._ask() if self.due else None, "value")
        self.send.on_click(lambda _: self._ask() if self.question.value else self._wait())
        self.stop.on_click(lambda _: box.stop())
        self.new.on_click(lambda _: box.clear())
        self.clock.observe(lambda _: self._tick(), "value")

    def _laid_out(self) -> Any:
        import ipywidgets

        row = {"flex_flow": "row wrap", "width": "100%"}
        for button in (self.send, self.stop, self.new):
            button.layout = {"width": "90px"}
        talk = ipywidgets.VBox(
            [self.past, self.now], layout={"flex": "none", "width": "100%", "overflow": "visible"}
        )
        scroll = {"max_height": "420px", "overflow": "auto", "flex_flow": "column-reverse"}
        talk = ipywidgets.Box([talk], layout={**scroll, "width": "100%"})  # scrolled to its end
        return base.column(
            ipywidgets.Box([self.clock, self.models, self.system], layout=row),
            talk.add_class("ll-talk"),
            self.status,
            ipywidgets.Box([self.question, self.send, self.stop, self.new], layout=row),
        )

    def _entered(self, content: dict) -> None:
        if content.get("event") == "submit":
            self._wait()

    def _wait(self) -> None:
        if not self.box._now:
            self.due, self.clock.playing = 3, True

    def _tick(self) -> None:
        if self.due:
            self.due -= 1
            if not self.due:
                self._ask()
        self.show()

    def _ask(self) -> None:
        self.due = 0
        text = self.question.value
        if text.strip() and not self.box._now:
            self.question.value = ""
            self.box.ask(text)

    def show(self) -> None:
        """Bring the page up to date."""
        box, now = self.box, self.box._now
        turns = "".join(map(_bubble, box.turns[-TURNS:]))
        _put(self.past, f'<div class="ll" role="log" aria-label="Conversation">{turns}</div>')
        current = _bubble(Turn(now.model, now.text, now.pace())) if now and now.text else ""
        _put(self.now, base.framed(current, label="The answer that is coming"))
        trouble = f'<p class="ll-trouble">⚠ {base.escape(box.trouble)}</p>' if box.trouble else ""
        status = "" if current else now.pace() if now else box.status
        status = f'<p class="ll-status">{base.escape(status)}</p>'
        _put(self.status, f'<div class="ll" role="status">{trouble or status}</div>')
        self.send.disabled, self.stop.disabled = bool(now), not now
        self.clock.playing = bool(now or self.due)


def _put(page: Any, value: str) -> None:
    if page.value != value:  # nothing is sent for what has not changed
        page.value = value


def _bubble(turn: Turn) -> str:
    text = ("… " if len(turn.text) > LONG else "") + base.escape(turn.text[-LONG:])
    note = f"<small>{base.escape(turn.note)}</small>" if turn.note else ""
    side = "ll-you" if turn.who == "you" else "ll-model"
    return (
        f'<div class="ll-turn {side}"><b>{base.escape(turn.who)}</b>'
        f'<div class="ll-bubble">{text}</div>{note}</div>'
    )
